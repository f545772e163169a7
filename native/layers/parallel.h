// Layers of several networks of one form side by side: channels [networks * width], and what mixes channels stays inside
// each network. One launch serves them all; of one network, they are its plain layers.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "core/weights.h"

namespace metavoice::layers {

// One scope for each network.
using ParallelWeights = std::vector<core::Weights>;

inline ParallelWeights scope(const ParallelWeights& networks, const std::string& name) {
  ParallelWeights result;
  for (const core::Weights& weights : networks) result.push_back(weights.scope(name));
  return result;
}

// A tensor of each network, joined along `axis`; of one network, as it is stored.
inline at::Tensor joined(const ParallelWeights& networks, const std::string& name, const std::vector<int64_t>& shape,
                         at::ScalarType dtype, int64_t axis = 0) {
  if (networks.size() == 1) return networks[0].tensor(name, shape, dtype);
  std::vector<at::Tensor> tensors;
  for (const core::Weights& weights : networks) tensors.push_back(weights.tensor(name, shape, dtype));
  return at::cat(tensors, axis);
}

// x [1, networks * in, length] in any dtype -> float32. It computes in `dtype`; where that is wider than the weights',
// this one matrix is upcast for the moment.
struct ParallelConv {
  at::Tensor weight;  // [networks * out, in, kernel]; transposed: [networks * in, out, kernel]
  at::Tensor bias;    // [networks * out], or undefined
  int64_t networks = 1;
  int64_t stride = 1;
  int64_t padding = 0;
  int64_t dilation = 1;

  at::Tensor forward(const at::Tensor& x, at::ScalarType dtype) const {
    return at::conv1d(x.to(dtype), weight.to(dtype), bias_in(dtype), stride, padding, dilation, networks).to(at::kFloat);
  }
  at::Tensor transposed(const at::Tensor& x, at::ScalarType dtype) const {
    return at::conv_transpose1d(x.to(dtype), weight.to(dtype), bias_in(dtype), stride, padding, 0, networks).to(at::kFloat);
  }

 private:
  at::Tensor bias_in(at::ScalarType dtype) const { return bias.defined() ? bias.to(dtype) : bias; }
};

// Group normalisation (Wu & He 2018) over channels / groups and all of the time, in float32.
struct ParallelGroupNorm {
  at::Tensor weight;  // [networks * channels]
  at::Tensor bias;
  int64_t groups = 1;  // of all networks together

  static ParallelGroupNorm load(const ParallelWeights& networks, int64_t channels, int64_t groups) {
    return {joined(networks, "weight", {channels}, at::kFloat), joined(networks, "bias", {channels}, at::kFloat),
            groups * static_cast<int64_t>(networks.size())};
  }

  at::Tensor forward(const at::Tensor& x) const { return at::group_norm(x, groups, weight, bias, 1e-5); }
};

}  // namespace metavoice::layers
