// Batch normalisation (Ioffe & Szegedy 2015) as it is after training: a scale and an offset for each channel, which go
// into the layer before it.
#pragma once

#include <ATen/ATen.h>

#include "core/weights.h"

namespace metavoice::layers {

struct BatchNorm {
  at::Tensor scale;   // [channels]
  at::Tensor offset;  // [channels]

  static BatchNorm load(const core::Weights& weights, int64_t channels) {
    constexpr double kEpsilon = 1e-5;
    const auto tensor = [&](const char* name) { return weights.tensor(name, {channels}, at::kFloat); };
    const at::Tensor scale = tensor("weight") / at::sqrt(tensor("running_var") + kEpsilon);
    return {scale, tensor("bias") - tensor("running_mean") * scale};
  }
};

}  // namespace metavoice::layers
