// SecondStage: a non-causal GPT that predicts codebooks 2 … from text and the first two (MetaVoice-1B).
//
// It always sees its whole window: text and codes, then padding columns, which are ordinary tokens to it.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "models/transformer.h"

namespace metavoice::models {

struct SecondStageConfig : TransformerConfig {
  int64_t codebook_size = 0;  // also the id of padding
};

class SecondStage {
 public:
  SecondStage(const core::Weights& weights, const SecondStageConfig& config);

  const SecondStageConfig& config() const { return config_; }
  int64_t window() const { return network_.window(); }
  // Ids of the first input row: codes, padding and text.
  int64_t vocabulary() const { return network_.vocabulary(0); }
  int64_t speaker_width() const { return network_.speaker_width(); }
  at::ScalarType dtype() const { return network_.dtype(); }
  int64_t predicted() const { return static_cast<int64_t>(network_.heads.size()); }

  // text [T] and codes [2, frames] -> the two input rows [1, 2, window] int64: text ++ codes ++ padding, cut to the window.
  at::Tensor input(const at::Tensor& text, const at::Tensor& codes) const;

  // rows [1, 2, window], speaker [width or none] -> hidden states [window, width] float32, final norm included.
  at::Tensor forward(const at::Tensor& rows, const at::Tensor& speaker, Precision precision = Precision::own) const;

  // Logits of some columns of the hidden states: [predicted, columns, codebook size + 1] float32.
  at::Tensor logits(const at::Tensor& hidden, int64_t first, int64_t columns) const;

 private:
  SecondStageConfig config_;
  Transformer network_;
};

}  // namespace metavoice::models
