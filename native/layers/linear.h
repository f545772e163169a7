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

  // Computes in the dtype of x: where that is wider, this one matrix is upcast for the moment.
  at::Tensor forward(const at::Tensor& x) const {
    const at::ScalarType dtype = x.scalar_type();
    return ops::linear(x, weight.to(dtype), bias.defined() ? bias.to(dtype) : bias);
  }

  // As it is held.
  int64_t bytes() const {
    const auto of = [](const at::Tensor& tensor) { return tensor.defined() ? static_cast<int64_t>(tensor.nbytes()) : 0; };
    return of(weight) + of(bias);
  }
};

}  // namespace metavoice::layers
