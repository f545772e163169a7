#include "models/deep_filter/blocks.h"

#include <algorithm>

namespace metavoice::models::deep_filter {

void relu(Frame& x) {
  for (float& value : x) value = std::max(0.0F, value);
}

layers::GroupedLinear load_pointwise(const core::Weights& weights, int matrix, int norm, int64_t out, int64_t in) {
  const auto normed = layers::BatchNorm::load(weights.scope(std::to_string(norm)), out);
  const at::Tensor weight = weights.tensor(std::to_string(matrix) + ".weight", {out, in, 1, 1}, at::kFloat);
  return layers::GroupedLinear::of((weight.view({out, in}) * normed.scale.unsqueeze(1)).t().unsqueeze(0).contiguous(), normed.offset);
}

Separable Separable::load(const core::Weights& weights, int64_t channels, int64_t stride, bool transposed) {
  return {layers::DepthwiseConv::load(weights, "0.weight", channels, stride, transposed), load_pointwise(weights, 1, 2, channels, channels)};
}

void Separable::forward(const Frame& x, Frame& work, Frame& to) const {
  const int64_t channels = pointwise.in, bins = static_cast<int64_t>(x.size()) / channels, out = depthwise.bins_out(bins);
  work.resize(static_cast<size_t>(out * channels));
  to.resize(work.size());
  depthwise.forward(x.data(), bins, work.data());
  pointwise.forward(work.data(), out, to.data());
  relu(to);
}

Pathway Pathway::load(const core::Weights& weights, int64_t channels) {
  const auto norm = layers::BatchNorm::load(weights.scope("1"), channels);
  const at::Tensor weight = weights.tensor("0.weight", {channels, 1, 1, 1}, at::kFloat);
  return {weight.view({channels}) * norm.scale, norm.offset};
}

void Pathway::add(const Frame& x, Frame& sum) const {
  const auto channels = static_cast<size_t>(scale.size(0));
  const float* scales = scale.const_data_ptr<float>();
  const float* offsets = offset.const_data_ptr<float>();
  for (size_t first = 0; first < x.size(); first += channels)
    for (size_t c = 0; c < channels; ++c) sum[first + c] += std::max(0.0F, x[first + c] * scales[c] + offsets[c]);
}

SqueezedGru SqueezedGru::load(const core::Weights& weights, int64_t width) {
  constexpr auto any = core::Weights::any;
  const int64_t hidden = weights.tensor("gru.weight_hh_l0", {any, any}, at::kFloat).size(1);
  SqueezedGru result{layers::GroupedLinear::load(weights, "linear_in.0.weight", width, hidden), layers::Gru::load(weights.scope("gru"), hidden), {}};
  if (weights.has("linear_out.0.weight")) result.linear_out = layers::GroupedLinear::load(weights, "linear_out.0.weight", hidden, width);
  return result;
}

void SqueezedGru::step(const Frame& x, layers::GruState& state, Frame& work, Frame& to) const {
  work.resize(static_cast<size_t>(gru.hidden()));
  linear_in.forward(x.data(), 1, work.data());
  relu(work);
  const float* hidden = gru.step(work.data(), state);
  if (!linear_out) {
    to.assign(hidden, hidden + gru.hidden());
    return;
  }
  to.resize(static_cast<size_t>(linear_out->groups * linear_out->out));
  linear_out->forward(hidden, 1, to.data());
  relu(to);
}

}  // namespace metavoice::models::deep_filter
