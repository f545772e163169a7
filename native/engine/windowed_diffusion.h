// Multi-band diffusion of one utterance while its codes are still coming.
//
// The whole form looks at everything: norms span the signal, levels are those of the utterance. Here it goes in windows
// that follow the chunks, none longer than about a second, which is what the networks were trained on. A window is sampled
// with context on both sides, drawing the numbers that belong to its place (models/diffusion/noise.h); it is final up to
// its end, and fades into the next one behind it. Only the levels of the equaliser remember what came before. So earlier
// output never changes, and it does not matter in which pieces codes come.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "core/stop.h"
#include "engine/speech_model.h"

namespace metavoice::engine {

struct DiffusionRequest {
  core::RandomKey random;
  int64_t steps = 20;
  std::vector<int64_t> chunk_ends;  // as in UtteranceRequest; of no matter for the whole
  core::Stopped stopped;            // asked at every step; then sampling throws
};

// The whole utterance as one: norms and levels over all of it. codes [codebooks, frames] -> samples [frames * hop] float32
// on the host. `noise` [bands, steps, samples] is given, or undefined and drawn. `redone` counts what was not finite in 16 bit.
at::Tensor diffuse_whole(const SpeechModel& model, const at::Tensor& codes, const DiffusionRequest& request, const at::Tensor& noise,
                         int64_t& redone);

// Frames of a second's parts, rounded up.
struct WindowSizes {
  int64_t context;  // heard on both sides where it exists: 0.2 s, what the convolutions of the published networks reach
  int64_t fade;     // behind a window's end, into the next one
  int64_t longest;

  static WindowSizes of(const models::encodec::Encodec& codec);
};

class WindowedDiffusion {
 public:
  // The model outlives it. The first speak() loads its diffusion decoder; ERR_MODEL_NOT_FOUND without one.
  WindowedDiffusion(const SpeechModel& model, DiffusionRequest request);

  // Frames that must exist behind a window's end, unless the utterance ends before.
  int64_t context() const { return sizes_.context; }
  // Windows that were not finite in 16 bit and were sampled again in float32.
  int64_t redone() const { return redone_; }

  // Codes [codebooks, frames] that follow, perhaps of no frames; after `ended` no more come.
  void add(const at::Tensor& codes, bool ended);
  // Up to which frame sound can be had now: the end of a window.
  int64_t ready() const;
  // Sound from where it was before up to `frame`, the end of a window that is ready: [n] float32 on the host.
  at::Tensor speak(int64_t frame);

 private:
  int64_t chunk_end(size_t index) const;
  // Where the window ends that begins at `first`.
  int64_t window_end(int64_t first) const;
  int64_t frames() const { return codes_.defined() ? codes_.size(1) : 0; }
  // Frames [first, last), of those that exist.
  at::Tensor run_window(int64_t first, int64_t last);
  // Decodes up to a frame, in steps that depend on the windows alone.
  void hear(int64_t frames);

  const SpeechModel& model_;
  DiffusionRequest request_;
  WindowSizes sizes_;
  int64_t hop_;
  at::Tensor codes_;      // [codebooks, frames] of all that came
  at::Tensor reference_;  // [samples] that the codec's own decoder made of it so far
  models::encodec::DecoderState decoder_;
  models::diffusion::ReferenceEqualizer::Levels levels_;
  at::Tensor tail_;       // what the last window says of the time behind it
  bool ended_ = false;
  int64_t done_ = 0;      // frames
  int64_t redone_ = 0;
};

}  // namespace metavoice::engine
