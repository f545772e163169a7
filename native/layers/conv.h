// Causal convolutions of SEANet (Tagliasacchi et al. 2020; Défossez et al. 2022), whole and in pieces.
//
// A convolution carries the end of its input, a transposed one the overlap of its output; so pieces equal the whole,
// given that the first piece is longer than the reflected padding on its left.
#pragma once

#include <ATen/ATen.h>

#include "core/weights.h"

namespace metavoice::layers {

// g * v / |v|, the norm over all axes but the first (Salimans & Kingma 2016); or a plain `weight`.
at::Tensor weight_normed(const core::Weights& weights, const std::vector<int64_t>& shape);

struct CausalConv {
  at::Tensor weight;  // [out, in, kernel]
  at::Tensor bias;    // [out]
  int64_t stride = 1;

  static CausalConv load(const core::Weights& weights, int64_t out, int64_t in, int64_t stride = 1);
  int64_t kernel() const { return weight.size(2); }

  // x [1, in, length] -> [1, out, ceil(length / stride)], reflected at its start.
  at::Tensor forward(const at::Tensor& x) const;
  // The same in pieces, for stride 1: `past` holds the last kernel - 1 inputs, undefined before the first piece.
  at::Tensor step(const at::Tensor& x, at::Tensor& past) const;
};

struct CausalTransposedConv {
  at::Tensor weight;  // [in, out, kernel]
  at::Tensor bias;    // [out]
  int64_t stride;

  static CausalTransposedConv load(const core::Weights& weights, int64_t in, int64_t out, int64_t kernel, int64_t stride);

  // x [1, in, length] -> [1, out, length * stride]; `tail` holds the overlap into the next piece, undefined at first.
  at::Tensor step(const at::Tensor& x, at::Tensor& tail) const;
};

}  // namespace metavoice::layers
