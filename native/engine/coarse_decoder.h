// Speaks one text with the first stage: a prompt, then ids one by one, sorted into the two coarse codebooks.
#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <vector>

#include "core/random.h"
#include "engine/first_stage_run.h"
#include "ops/sampling.h"

namespace metavoice::engine {

struct CoarseRequest {
  std::vector<int64_t> text;  // ids, end of text included
  at::Tensor context;         // codes [2, frames] that were spoken before, of the beginning of the text; or undefined
  at::Tensor speaker;         // [speaker width]
  ops::Guidance guidance;
  ops::SamplingSettings sampling;
  bool constrain = true;
  core::RandomKey random;
  int64_t maximum_frames = 0;

  int64_t context_frames() const { return context.defined() ? context.size(1) : 0; }
  int64_t prompt_length() const { return static_cast<int64_t>(text.size()) + 2 * context_frames(); }
};

class CoarseDecoder {
 public:
  CoarseDecoder(const models::FirstStage& model, const CoarseRequest& request);

  // The prompt, and the first id. With a pool, which must have room for the prompt, its keys and values go there.
  void prefill(layers::KvPool* pool = nullptr);
  // One more id, alone. Only while not ended.
  void step();

  // One more id, together with others (engine/batch_step.h): the last id is fed to the rows of `run()`, and these are the
  // finite logits [rows, vocabulary] on the host.
  FirstStageRun& run() { return run_; }
  const FirstStageRun& run() const { return run_; }
  int64_t last_id() const { return last_id_; }
  void take_step(const float* logits, int64_t vocabulary);
  // The same where ids are drawn by the device, some in a row: what it needs to know, and each of them.
  models::Drawing drawing() const;
  void take_step(int64_t id);

  bool started() const { return run_.positions() > 0; }
  // No more ids: the model said so (`stopped`), or the window or the asked length is full.
  bool ended() const { return stopped_ || steps_ >= budget_; }
  bool stopped() const { return stopped_; }
  int64_t steps() const { return steps_; }
  // Steps that are left, unless the model ends before.
  int64_t left() const { return budget_ - steps_; }
  // Steps that were done again in float32.
  int64_t redone() const { return run_.redone(); }

  // Steps without which there can't be so many frames: one for each code that is missing.
  int64_t steps_to(int64_t frames) const;
  // Frames of which both codes are there.
  int64_t frames() const;
  // Codes [2, last - first] int64 of a range of frames.
  at::Tensor codes(int64_t first, int64_t last) const;

 private:
  void take(const at::Tensor& logits);  // [rows, vocabulary]
  void take(const float* logits, int64_t vocabulary);
  void take(int64_t id);

  const models::FirstStageConfig& config_;
  CoarseRequest request_;
  int64_t budget_;  // ids that may be drawn
  FirstStageRun run_;
  int64_t last_id_ = -1;
  int64_t steps_ = 0;
  bool stopped_ = false;
  std::array<std::vector<int64_t>, 2> codebooks_;
};

}  // namespace metavoice::engine
