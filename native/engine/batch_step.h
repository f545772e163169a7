// Decode steps of many utterances as one batch: their rows of guidance side by side, each with its own past. One at a time, or
// some in a row where the kernels draw the ids.
#pragma once

#include <algorithm>
#include <exception>
#include <utility>
#include <vector>

#include "engine/coarse_decoder.h"
#include "engine/row_counts.h"

namespace metavoice::engine {

// A run that is fed an id. It is paged, and has room for it.
struct Fed {
  const FirstStageRun* run;
  int64_t id;
};

// One evaluation of all of them side by side, padded to so many rows. -> logits [rows, vocabulary] float32 on the host, perhaps
// not finite; no run has advanced.
at::Tensor step_rows(const models::FirstStage& model, const layers::KvPool& pool, const std::vector<Fed>& fed, int64_t padded);

class BatchStep {
 public:
  BatchStep(const models::FirstStage& model, const layers::KvPool& pool, RowCounts counts)
      : model_(model), pool_(pool), counts_(std::move(counts)), drawn_steps_(model.steps_per_launch(pool.memory())) {}

  // So many steps may go in one launch.
  int64_t most_steps() const { return std::max<int64_t>(1, drawn_steps_); }

  // So many steps of each, or fewer where it ends or has none left; each is paged, has room for them and has not ended. One
  // whose logits are not finite takes that step again, alone, and then no more. What failed is told with its reason, and the
  // others have gone on. Where this throws, those of the batch in hand and behind it have not; the last of `decoders` is one of
  // them.
  using Failures = std::vector<std::pair<CoarseDecoder*, std::exception_ptr>>;
  Failures run(const std::vector<CoarseDecoder*>& decoders, int64_t steps = 1);

 private:
  void run_together(const std::vector<CoarseDecoder*>& decoders, int64_t padded, Failures& failures);
  void draw_together(const std::vector<CoarseDecoder*>& decoders, int64_t padded, int64_t steps, Failures& failures);

  const models::FirstStage& model_;
  const layers::KvPool& pool_;
  RowCounts counts_;
  int64_t drawn_steps_;  // 0: the host draws
};

}  // namespace metavoice::engine
