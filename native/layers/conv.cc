#include "layers/conv.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::layers {

namespace {

// Reflection needs more samples than it mirrors; a shorter signal is first lengthened with zeros, then cut again.
at::Tensor reflect(const at::Tensor& x, int64_t left, int64_t right) {
  if (left == 0 && right == 0) return x;
  const int64_t length = x.size(-1), needed = std::max(left, right) + 1;
  if (length >= needed) return at::reflection_pad1d(x, {left, right});
  const int64_t extra = needed - length;
  const at::Tensor padded = at::reflection_pad1d(at::constant_pad_nd(x, {0, extra}), {left, right});
  return padded.narrow(-1, 0, padded.size(-1) - extra);
}

}  // namespace

at::Tensor weight_normed(const core::Weights& weights, const std::vector<int64_t>& shape) {
  if (weights.has("weight")) return weights.tensor("weight", shape, at::kFloat);
  const at::Tensor direction = weights.tensor("weight_v", shape, at::kFloat);
  const at::Tensor gain = weights.tensor("weight_g", {direction.size(0), 1, 1}, at::kFloat);
  return (direction * (gain / at::norm(direction, at::Scalar(2), {1, 2}, /*keepdim=*/true))).contiguous();
}

CausalConv CausalConv::load(const core::Weights& weights, int64_t out, int64_t in, int64_t stride) {
  CausalConv result;
  result.weight = weight_normed(weights, {out, in, core::Weights::any});
  result.bias = weights.tensor("bias", {result.weight.size(0)}, at::kFloat);
  result.stride = stride;
  return result;
}

at::Tensor CausalConv::forward(const at::Tensor& x) const {
  const int64_t padding = kernel() - stride;
  // The last, partial stride is completed on the right.
  const int64_t length = x.size(-1), outputs = (length + stride - 1) / stride;
  const int64_t extra = (outputs - 1) * stride + kernel() - padding - length;
  return at::conv1d(reflect(x, padding, extra), weight, bias, stride);
}

at::Tensor CausalConv::step(const at::Tensor& x, at::Tensor& past) const {
  core::require(stride == 1, "a convolution of stride 1 where it runs in pieces");
  const int64_t memory = kernel() - 1;
  if (memory == 0) return at::conv1d(x, weight, bias);
  const at::Tensor input = past.defined() ? at::cat({past, x}, -1) : reflect(x, memory, 0);
  past = input.narrow(-1, input.size(-1) - memory, memory).clone();
  return at::conv1d(input, weight, bias);
}

CausalTransposedConv CausalTransposedConv::load(const core::Weights& weights, int64_t in, int64_t out, int64_t kernel,
                                                int64_t stride) {
  CausalTransposedConv result;
  result.weight = weight_normed(weights, {in, out, kernel});
  result.bias = weights.tensor("bias", {result.weight.size(1)}, at::kFloat);
  result.stride = stride;
  return result;
}

at::Tensor CausalTransposedConv::step(const at::Tensor& x, at::Tensor& tail) const {
  const int64_t overlap = weight.size(2) - stride, emitted = x.size(-1) * stride;
  at::Tensor y = at::conv_transpose1d(x, weight, {}, stride);  // [1, out, emitted + overlap]
  if (tail.defined() && overlap > 0) y.narrow(-1, 0, overlap).add_(tail);
  tail = y.narrow(-1, emitted, overlap).clone();
  return y.narrow(-1, 0, emitted) + bias.view({1, -1, 1});
}

}  // namespace metavoice::layers
