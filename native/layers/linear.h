// y = x W^T (+ b); W is [out, in].
#pragma once

#include <ATen/ATen.h>

#include "core/weights.h"

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

  // The same numbers upcast; the copy goes when it is dropped.
  Linear in_float32() const { return {weight.to(at::kFloat), bias.defined() ? bias.to(at::kFloat) : bias}; }

  at::Tensor forward(const at::Tensor& x) const { return at::linear(x, weight, bias); }
};

}  // namespace metavoice::layers
