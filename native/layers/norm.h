// Normalisation over the last axis, always in float32: RMSNorm (Zhang & Sennrich 2019) or LayerNorm (Ba et al. 2016).
#pragma once

#include <ATen/ATen.h>

#include "core/weights.h"
#include "ops/rms_norm.h"

namespace metavoice::layers {

enum class NormKind { rms, layer };

struct Norm {
  NormKind kind;
  double epsilon;
  at::Tensor weight;  // [width]
  at::Tensor bias;    // [width], or undefined; LayerNorm only

  static Norm load(const core::Weights& weights, NormKind kind, double epsilon, int64_t width) {
    const at::Tensor weight = weights.tensor("weight", {width}, at::kFloat);
    // RMSNorm has no bias: one in the file stays unused, and is refused as such.
    return {kind, epsilon, weight, kind == NormKind::layer ? weights.optional("bias", {width}, at::kFloat) : at::Tensor()};
  }

  // x [..., width] float32, rounded to a dtype at the end.
  at::Tensor forward(const at::Tensor& x, at::ScalarType dtype = at::kFloat) const {
    if (kind == NormKind::layer) return at::layer_norm(x, {weight.size(0)}, weight, bias, epsilon).to(dtype);
    return ops::rms_norm(x, weight, epsilon, dtype);
  }
};

}  // namespace metavoice::layers
