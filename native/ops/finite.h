// Numeric health: whether every number of a tensor is finite, told by the device that has them.
#pragma once

#include <ATen/ATen.h>

namespace metavoice::ops {

// A float32 scalar that stays on the device: 0 where all of `values` are finite, else NaN, which survives every sum.
at::Tensor zero_if_finite(const at::Tensor& values);

// `values` of any shape, floating point. One scalar comes to the host.
bool all_finite(const at::Tensor& values);

}  // namespace metavoice::ops
