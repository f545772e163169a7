// One decode step of many utterances as one batch: their rows of guidance side by side, each with its own past.
#pragma once

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
      : model_(model), pool_(pool), counts_(std::move(counts)) {}

  // One step of each; each is paged, has room for it and has not ended. One whose logits are not finite takes it again,
  // alone. What failed is told with its reason, and the others have gone on. Where this throws, those
  // of the batch in hand and behind it have not; the last of `decoders` is one of them.
  using Failures = std::vector<std::pair<CoarseDecoder*, std::exception_ptr>>;
  Failures run(const std::vector<CoarseDecoder*>& decoders);

 private:
  void run_together(const std::vector<CoarseDecoder*>& decoders, int64_t padded, Failures& failures);

  const models::FirstStage& model_;
  const layers::KvPool& pool_;
  RowCounts counts_;
};

}  // namespace metavoice::engine
