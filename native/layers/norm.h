// Normalisation over the last axis, always in float32: RMSNorm (Zhang & Sennrich 2019) or LayerNorm (Ba et al. 2016).
#pragma once

#include <ATen/ATen.h>

#include "core/weights.h"

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

  at::Tensor forward(const at::Tensor& x) const {
    if (kind == NormKind::layer) return at::layer_norm(x, {weight.size(0)}, weight, bias, epsilon);
    return at::rms_norm(x, {weight.size(0)}, weight, epsilon);
  }
};

}  // namespace metavoice::layers
