// y = x W^T (+ b); W is [out, in].
#pragma once

#include <ATen/ATen.h>

#include "core/weights.h"
#include "ops/linear.h"

namespace metavoice::layers {

struct Linear {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out], or undefined

  static Linear load(const core::Weights& weights, int64_t out, int64_t in) {
    return load(weights, out, in, weights.placement().dtype);
  }
  static Linear load(const core::Weights& weights, int64_t out, int64_t in, at::ScalarType dtype) {
    return {weights.tensor("weight", {out, in}, dtype), weights.optional("bias", {out}, dtype)};
  }

  // Computes in the dtype of x: where that is wider, this one matrix is upcast, if need be as a whole for the moment.
  at::Tensor forward(const at::Tensor& x) const { return ops::linear(x, weight, bias); }

  // sum [..., out] float32 += forward(x).
  void add_to(const at::Tensor& sum, const at::Tensor& x) const { ops::add_linear(sum, x, weight, bias); }
};

}  // namespace metavoice::layers
