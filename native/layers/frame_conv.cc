#include "layers/frame_conv.h"

#include <algorithm>

namespace metavoice::layers {

namespace {

constexpr int64_t kWidth = 3;  // of a depthwise kernel

}  // namespace

FrameConv FrameConv::load(const core::Weights& weights, const std::string& name, int64_t in, const BatchNorm* norm) {
  constexpr auto any = core::Weights::any;
  at::Tensor weight = weights.tensor(name, {norm ? norm->scale.size(0) : any, any, any, any}, at::kFloat);
  const int64_t groups = in / std::max<int64_t>(1, weight.size(1));
  GroupedLinear::require_groups(name, groups, in);
  GroupedLinear::require_groups(name, groups, weight.size(0));
  weights.tensor(name, {any, in / groups, any, any}, at::kFloat);
  if (norm) weight = weight * norm->scale.view({-1, 1, 1, 1});
  const int64_t times = weight.size(2), width = weight.size(3);
  const at::Tensor matrices = weight.view({groups, -1, in / groups, times, width}).permute({0, 3, 4, 2, 1});
  const at::Tensor patches = matrices.reshape({groups, times * width * in / groups, -1});
  return {GroupedLinear::of(patches, norm ? norm->offset : at::Tensor()), in, times, width};
}

FrameMemory FrameConv::begin(int64_t bins) const {
  return {std::vector<float>(static_cast<size_t>(times * bins * in), 0.0F),
          std::vector<float>(static_cast<size_t>(times * bins * in * width), 0.0F)};
}

void FrameConv::step(const float* x, FrameMemory& memory, float* to) const {
  const auto size = static_cast<int64_t>(memory.frames.size()) / times, bins = size / in, share = in / product.groups;
  std::copy(x, x + size, memory.frames.begin() + memory.next * size);
  memory.next = (memory.next + 1) % times;  // now the oldest one
  float* patch = memory.patches.data();
  for (int64_t bin = 0; bin < bins; ++bin)
    for (int64_t group = 0; group < product.groups; ++group)
      for (int64_t time = 0; time < times; ++time) {
        const float* frame = memory.frames.data() + (memory.next + time) % times * size + group * share;
        for (int64_t place = bin - width / 2; place < bin - width / 2 + width; ++place, patch += share) {
          if (place < 0 || place >= bins) std::fill(patch, patch + share, 0.0F);
          else std::copy(frame + place * in, frame + place * in + share, patch);
        }
      }
  product.forward(memory.patches.data(), bins, to);
}

DepthwiseConv DepthwiseConv::load(const core::Weights& weights, const std::string& name, int64_t channels, int64_t stride, bool transposed) {
  const at::Tensor weight = weights.tensor(name, {channels, 1, 1, kWidth}, at::kFloat);
  return {weight.view({channels, -1}).t().contiguous(), stride, transposed};
}

void DepthwiseConv::forward(const float* x, int64_t bins, float* to) const {
  const int64_t channels = weight.size(1), wide = transposed ? bins_out(bins) : bins;
  const int64_t narrow = transposed ? bins : bins_out(bins);
  const float* taps = weight.const_data_ptr<float>();
  std::fill(to, to + bins_out(bins) * channels, 0.0F);
  for (int64_t bin = 0; bin < narrow; ++bin)
    for (int64_t tap = 0; tap < kWidth; ++tap) {
      const int64_t place = bin * stride + tap - kWidth / 2;
      if (place < 0 || place >= wide) continue;
      const float* from = x + (transposed ? bin : place) * channels;
      float* sum = to + (transposed ? place : bin) * channels;
      for (int64_t channel = 0; channel < channels; ++channel) sum[channel] += from[channel] * taps[tap * channels + channel];
    }
}

}  // namespace metavoice::layers
