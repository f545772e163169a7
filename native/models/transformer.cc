#include "models/transformer.h"

#include "core/error.h"

namespace metavoice::models {

namespace {

std::string numbered(const std::string& name, size_t index) { return name + "." + std::to_string(index); }

}  // namespace

Transformer Transformer::load(const core::Weights& weights, const TransformerConfig& config) {
  constexpr auto any = core::Weights::any;
  Transformer result;
  result.attention_heads = config.heads;
  result.positions = weights.tensor("positions.weight", {any, any});
  const int64_t width = result.positions.size(1);
  if (config.heads <= 0 || width % config.heads != 0)
    throw core::Error("ERR_CHECKPOINT", "expected a number of heads that divides the width " + std::to_string(width) +
                                            " but found " + std::to_string(config.heads));
  do result.tokens.push_back(weights.tensor(numbered("tokens", result.tokens.size()) + ".weight", {any, width}));
  while (weights.has(numbered("tokens", result.tokens.size()) + ".weight"));
  result.speaker = weights.optional("speaker.weight", {width, any}, at::kFloat);

  const layers::BlockShape shape{config.heads, width, config.norm, config.norm_epsilon, config.activation};
  do result.blocks.push_back(layers::TransformerBlock::load(weights.scope(numbered("layers", result.blocks.size())), shape));
  while (weights.has(numbered("layers", result.blocks.size()) + ".attention_norm.weight"));

  result.norm = layers::Norm::load(weights.scope("norm"), config.norm, config.norm_epsilon, width);
  while (weights.has(numbered("heads", result.heads.size()) + ".weight"))
    result.heads.push_back(weights.tensor(numbered("heads", result.heads.size()) + ".weight", {any, width}, at::kFloat));
  // On the CPU the loops read 16 bit as they are, and the table need not be held twice.
  if (result.heads.empty()) result.heads.push_back(result.device().is_cpu() ? result.tokens[0] : result.tokens[0].to(at::kFloat));
  return result;
}

at::Tensor Transformer::project_speaker(const at::Tensor& embedding) const {
  core::require(speaker.defined(), "a model with a speaker projection");
  core::require(embedding.numel() == speaker.size(1), "a speaker embedding of the model's width");
  return at::linear(embedding.to(device(), at::kFloat).view({1, 1, -1}), speaker);
}

}  // namespace metavoice::models
