#include "models/first_stage.h"

#include "core/error.h"
#include "ops/linear.h"

namespace metavoice::models {

FirstStage::FirstStage(const core::Weights& weights, const FirstStageConfig& config, std::optional<at::ScalarType> pages)
    : config_(config), network_(Transformer::load(weights, config)), page_dtype_(pages.value_or(network_.dtype())) {
  const bool holds = page_dtype_ == network_.dtype() || page_dtype_ == at::kChar || (page_dtype_ == at::kHalf && network_.dtype() == at::kFloat);
  core::require(holds, "keys and values in the model's dtype, in int8, or of a float32 model in float16");
  const int64_t entries = network_.vocabulary();
  const bool sound = network_.tokens.size() == 1 && network_.heads.size() == 1 && network_.heads[0].size(0) == entries &&
                     config.codebook_size > 0 && config.end_of_audio == 2 * config.codebook_size &&
                     config.end_of_text > config.end_of_audio && config.end_of_text < entries;
  if (!sound)
    throw core::Error("ERR_CHECKPOINT", "expected a first stage of one table whose ids are two codebooks, end of audio and "
                                        "text, but found " + std::to_string(entries) + " ids, end of audio " +
                                            std::to_string(config.end_of_audio) + " and end of text " +
                                            std::to_string(config.end_of_text));
  weights.require_all_used();
  if (network_.device().is_cuda()) use_kernels(ops::decode_kernels());
}

layers::KvCache FirstStage::make_cache(int64_t rows, int64_t capacity) const {
  return make_cache(rows, capacity, at::TensorOptions().device(network_.device()).dtype(network_.dtype()));
}

layers::KvCache FirstStage::make_cache(int64_t rows, int64_t capacity, const at::TensorOptions& options) const {
  return layers::KvCache(static_cast<int64_t>(network_.blocks.size()), rows, network_.attention_heads, capacity, network_.head_width(), options);
}

layers::KvPool FirstStage::make_pool(int64_t pages) const {
  return make_pool(static_cast<int64_t>(network_.blocks.size()), pages);
}

layers::KvPool FirstStage::make_probe_pool(int64_t pages) const { return make_pool(1, pages); }

layers::KvPool FirstStage::make_pool(int64_t layers, int64_t pages) const {
  return {{layers, network_.attention_heads, network_.head_width()}, pages, at::TensorOptions().device(network_.device()).dtype(page_dtype_)};
}

at::Tensor FirstStage::branches(const at::Tensor& prompt, int64_t rows) const {
  const at::Tensor ids = prompt.to(network_.device(), at::kLong).view({1, -1});
  if (rows < 3) return ids.expand({rows, -1}).contiguous();
  const at::Tensor blank = at::where(ids > config_.end_of_audio, at::scalar_tensor(config_.end_of_text, ids.options()), ids);
  return at::cat({ids, ids, blank}, 0);
}

at::Tensor FirstStage::conditioning(const at::Tensor& speaker, int64_t rows) const {
  if (!network_.speaker.defined()) return at::zeros({rows, 1, network_.width()}, network_.norm.weight.options());
  at::Tensor result = network_.project_speaker(speaker).expand({rows, -1, -1}).contiguous();
  if (rows > 1) result[1].zero_();
  return result;
}

at::Tensor FirstStage::hidden(const at::Tensor& ids, const at::Tensor& conditioning, layers::KvCache& cache,
                              Precision precision) const {
  const int64_t positions = ids.size(1);
  core::require(cache.length() + positions <= network_.window(), "positions inside the window of the first stage");
  at::Tensor residual = at::embedding(network_.tokens[0], ids).to(at::kFloat);
  residual = residual + network_.positions.narrow(0, cache.length(), positions).to(at::kFloat) + conditioning;
  network_.each_block(precision, [&](const layers::TransformerBlock& block, int64_t index) { block.forward(residual, cache, index); });
  cache.advance(positions);
  return residual;
}

at::Tensor FirstStage::step(const at::Tensor& ids, const at::Tensor& positions, const at::Tensor& conditioning,
                            const ops::PagedMemory& memory, const std::vector<const ops::PagedRow*>& rows) const {
  for (const ops::PagedRow* row : rows) core::require(row->length < network_.window(), "positions inside the window of the first stage");
  if (runner_ != nullptr && runner_->serves(ids.size(0), memory)) return runner_->step(network_, ids, positions, conditioning, memory, rows);
  at::Tensor residual = at::embedding(network_.tokens[0], ids.to(network_.device())).to(at::kFloat);
  residual = residual + at::embedding(network_.positions, positions.to(network_.device())).to(at::kFloat) + conditioning;
  const ops::PagedRows together(rows);
  network_.each_block(Precision::own, [&](const layers::TransformerBlock& block, int64_t index) { block.forward(residual, memory, index, together); });
  return ops::linear(network_.norm.forward(residual), network_.heads[0]);
}

std::vector<Drawn> FirstStage::draw(const std::vector<Drawing>& drawings, int64_t padded, int64_t steps, const ops::PagedMemory& memory) const {
  core::require(steps_per_launch(memory) > 0 && runner_->serves(padded, memory), "kernels that draw for so many rows");
  return runner_->draw(network_, {config_.codebook_size, config_.end_of_audio}, drawings, padded, steps, memory);
}

at::Tensor FirstStage::probe(const at::Tensor& residual, const ops::PagedMemory& memory, const std::vector<const ops::PagedRow*>& rows) const {
  at::Tensor changed = residual.clone();
  network_.blocks[0].forward(changed, memory, 0, rows);
  return ops::linear(network_.norm.forward(changed), network_.heads[0]);
}

int64_t FirstStage::step_bytes() const {
  auto bytes = static_cast<int64_t>(network_.heads[0].nbytes());
  for (const layers::TransformerBlock& block : network_.blocks) {
    const layers::FeedForward& forward = block.feed_forward;
    for (const layers::Linear* linear : {&block.attention.qkv, &block.attention.out, &forward.gate, &forward.up, &forward.down}) bytes += linear->bytes();
  }
  return bytes;
}

at::Tensor FirstStage::forward(const at::Tensor& ids, const at::Tensor& conditioning, layers::KvCache& cache,
                               Precision precision) const {
  const at::Tensor last = hidden(ids, conditioning, cache, precision).select(1, ids.size(1) - 1);
  return ops::linear(network_.norm.forward(last), network_.heads[0]);
}

at::Tensor FirstStage::forward_all(const at::Tensor& ids, const at::Tensor& conditioning, layers::KvCache& cache,
                                   Precision precision) const {
  return ops::linear(network_.norm.forward(hidden(ids, conditioning, cache, precision)), network_.heads[0]);
}

}  // namespace metavoice::models
