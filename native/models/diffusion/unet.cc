#include "models/diffusion/unet.h"

#include <string>

#include "core/error.h"

namespace metavoice::models::diffusion {

namespace {

using layers::ParallelConv;
using layers::ParallelGroupNorm;
using layers::ParallelWeights;

constexpr auto any = core::Weights::any;

std::string numbered(const std::string& name, int64_t index) { return name + "." + std::to_string(index); }

at::Tensor padded_to(const at::Tensor& x, int64_t stride) {
  const int64_t rest = x.size(-1) % stride;
  return rest == 0 ? x : at::constant_pad_nd(x, {0, stride - rest});
}

// As many as the first network names; dilations double.
std::vector<ResidualBlock> load_blocks(const ParallelWeights& weights, int64_t width, const UnetConfig& config) {
  std::vector<ResidualBlock> blocks;
  for (int64_t i = 0; weights[0].has(numbered("res_blocks", i) + ".conv1.weight"); ++i)
    blocks.push_back(ResidualBlock::load(layers::scope(weights, numbered("res_blocks", i)), width, int64_t{1} << i, config));
  return blocks;
}

ResidualBlock::Half load_half(const ParallelWeights& weights, const char* index, int64_t width, int64_t dilation, const UnetConfig& config) {
  const std::string norm = std::string("norm") + index, conv = std::string("conv") + index;
  const at::ScalarType dtype = weights[0].placement().dtype;
  ResidualBlock::Half half;
  half.norm = ParallelGroupNorm::load(layers::scope(weights, norm), width, config.norm_groups);
  half.conv.weight = layers::joined(weights, conv + ".weight", {width, width, 3}, dtype);
  half.conv.bias = layers::joined(weights, conv + ".bias", {width}, dtype);
  half.conv.networks = static_cast<int64_t>(weights.size());
  half.conv.padding = half.conv.dilation = dilation;
  return half;
}

}  // namespace

ResidualBlock ResidualBlock::load(const ParallelWeights& weights, int64_t width, int64_t dilation, const UnetConfig& config) {
  return {load_half(weights, "1", width, dilation, config), load_half(weights, "2", width, dilation, config)};
}

at::Tensor ResidualBlock::forward(const at::Tensor& x, at::ScalarType dtype) const {
  at::Tensor inner = x;
  for (const Half* half : {&first, &second}) inner = half->conv.forward(half->norm.forward(inner).relu_(), dtype);
  return inner.add_(x);
}

Unet::Level Unet::load_level(const ParallelWeights& weights, int64_t level, int64_t depth, int64_t outer, const UnetConfig& config) {
  const ParallelWeights encoder = layers::scope(weights, numbered("encoders", level));
  const ParallelWeights decoder = layers::scope(weights, numbered("decoders", depth - 1 - level));
  const at::ScalarType dtype = weights[0].placement().dtype;
  Level result;
  result.down.networks = result.up.networks = static_cast<int64_t>(weights.size());
  result.down.weight = layers::joined(encoder, "conv.weight", {any, outer, any}, dtype);
  const int64_t width = result.down.weight.size(0) / result.down.networks, kernel = result.down.weight.size(2);
  if (width % config.norm_groups != 0 || kernel < config.stride)
    throw core::Error("ERR_CHECKPOINT", "expected groups of norms that divide " + std::to_string(width) + " channels and a stride up to " +
                                            std::to_string(kernel) + " but found " + std::to_string(config.norm_groups) + " and " +
                                            std::to_string(config.stride));
  result.up.weight = layers::joined(decoder, "convtr.weight", {width, outer, kernel}, dtype);
  result.down.stride = result.up.stride = config.stride;
  result.down.padding = result.up.padding = (kernel - config.stride) / 2;
  result.down_norm = ParallelGroupNorm::load(layers::scope(encoder, "norm"), width, config.norm_groups);
  result.up_norm = ParallelGroupNorm::load(layers::scope(decoder, "norm"), width, config.norm_groups);
  result.down_blocks = load_blocks(encoder, width, config);
  result.up_blocks = load_blocks(decoder, width, config);
  const std::string table = level == 0 ? "embedding.weight" : numbered("embeddings", level - 1) + ".weight";
  if (level == 0 || weights[0].has(table)) result.step = layers::joined(weights, table, {any, width}, at::kFloat, 1);
  return result;
}

Unet::Unet(const ParallelWeights& weights, const UnetConfig& config) : networks_(static_cast<int64_t>(weights.size())) {
  core::require(networks_ > 0 && config.stride > 0 && config.norm_groups > 0, "a network, a stride and groups");
  int64_t depth = 1, outer = 1;
  while (weights[0].has(numbered("encoders", depth) + ".conv.weight")) ++depth;
  for (int64_t level = 0; level < depth; ++level) {
    levels_.push_back(load_level(weights, level, depth, outer, config));
    outer = levels_.back().down.weight.size(0) / networks_;
  }
  const at::ScalarType dtype = weights[0].placement().dtype;
  condition_.weight = layers::joined(weights, "conv_codec.weight", {outer, any, 1}, dtype);
  condition_.bias = layers::joined(weights, "conv_codec.bias", {outer}, dtype);
}

int64_t Unet::cell() const {
  int64_t samples = 1;
  for (const Level& level : levels_) samples *= level.down.stride;
  return samples;
}

at::Tensor Unet::condition(const at::Tensor& latent, int64_t samples, at::ScalarType dtype) const {
  for (const Level& level : levels_) samples = (samples + level.down.stride - 1) / level.down.stride;
  return at::upsample_nearest1d(condition_.forward(latent.unsqueeze(0), dtype), samples);
}

at::Tensor Unet::forward(const at::Tensor& signal, int64_t step, const at::Tensor& condition, at::ScalarType dtype) const {
  std::vector<at::Tensor> skips;
  at::Tensor x = signal.unsqueeze(0);
  for (const Level& level : levels_) {
    x = level.down_norm.forward(level.down.forward(padded_to(x, level.down.stride), dtype)).relu_();
    for (const ResidualBlock& block : level.down_blocks) x = block.forward(x, dtype);
    if (level.step.defined()) x = x + level.step.select(0, step).view({1, -1, 1});
    skips.push_back(x);
  }
  // The deepest skip carries the condition, and nothing but it goes up: there is no other way around the bottom.
  skips.back() = skips.back() + condition;
  for (size_t i = levels_.size(); i-- > 0;) {
    const Level& level = levels_[i];
    x = i + 1 == levels_.size() ? skips[i] : x.narrow(2, 0, skips[i].size(2)) + skips[i];
    for (const ResidualBlock& block : level.up_blocks) x = block.forward(x, dtype);
    x = level.up.transposed(level.up_norm.forward(x).relu_(), dtype);
  }
  return x.narrow(2, 0, signal.size(1)).squeeze(0);
}

}  // namespace metavoice::models::diffusion
