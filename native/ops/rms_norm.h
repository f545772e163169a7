// Normalisation by the root mean square (Zhang & Sennrich 2019).
#pragma once

#include <ATen/ATen.h>

namespace metavoice::ops {

// x [..., width] float32 -> x / sqrt(mean(x²) + epsilon) · weight, the mean over the last axis, rounded to `dtype`. On the CPU by a
// loop of our own, where the numbers of a row depend on that row alone; elsewhere by libtorch.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::ScalarType dtype = at::kFloat);

}  // namespace metavoice::ops
