#include "models/second_stage.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::models {

SecondStage::SecondStage(const core::Weights& weights, const SecondStageConfig& config)
    : config_(config), network_(Transformer::load(weights, config)) {
  const bool sound = network_.tokens.size() == 2 && config.codebook_size > 0 &&
                     network_.vocabulary(1) == config.codebook_size + 1 && network_.vocabulary(0) > config.codebook_size &&
                     std::all_of(network_.heads.begin(), network_.heads.end(), [&](const at::Tensor& head) {
                       return head.size(0) == config.codebook_size + 1;
                     });
  if (!sound)
    throw core::Error("ERR_CHECKPOINT", "expected a second stage with two token tables and heads of " +
                                            std::to_string(config.codebook_size + 1) + " entries, but found " +
                                            std::to_string(network_.tokens.size()) + " tables and " +
                                            std::to_string(network_.heads[0].size(0)) + " entries");
  weights.require_all_used();
}

at::Tensor SecondStage::input(const at::Tensor& text, const at::Tensor& codes) const {
  const int64_t letters = text.size(0), frames = std::min(codes.size(1), window() - letters);
  core::require(letters < window(), "a text shorter than the window of the second stage");
  at::Tensor rows = at::full({1, 2, window()}, config_.codebook_size, at::TensorOptions().dtype(at::kLong));
  rows[0][0].narrow(0, 0, letters).copy_(text);
  rows[0].narrow(1, letters, frames).copy_(codes.narrow(1, 0, frames));
  return rows.to(network_.device());
}

at::Tensor SecondStage::forward(const at::Tensor& rows, const at::Tensor& speaker, Precision precision) const {
  at::Tensor residual = at::embedding(network_.tokens[0], rows.select(1, 0)).to(at::kFloat);
  residual = residual + at::embedding(network_.tokens[1], rows.select(1, 1)).to(at::kFloat);
  residual = residual + network_.positions.to(at::kFloat);
  if (network_.speaker.defined()) residual = residual + network_.project_speaker(speaker);
  network_.each_block(precision, [&](const layers::TransformerBlock& block, int64_t) { block.forward(residual); });
  return network_.norm.forward(residual).squeeze(0);
}

at::Tensor SecondStage::logits(const at::Tensor& hidden, int64_t first, int64_t columns) const {
  const at::Tensor chosen = hidden.narrow(0, first, columns);
  std::vector<at::Tensor> result;
  for (const at::Tensor& head : network_.heads) result.push_back(at::linear(chosen, head.to(at::kFloat)));
  return at::stack(result);
}

}  // namespace metavoice::models
