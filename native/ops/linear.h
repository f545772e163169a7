// y = x W^T (+ b); W is [out, in].
#pragma once

#include <ATen/ATen.h>

namespace metavoice::ops {

// x [..., in] -> [..., out]. On the CPU in float32 a decode step, which is x [rows, in] or [rows, 1, in], goes through our own
// loops: there the numbers of a row do not depend on how many others there are, nor on the number of threads. All else is
// libtorch's.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

// The loops: float32, contiguous, on the CPU. x [rows, in], weight [out, in] -> [rows, out]
at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& weight);

}  // namespace metavoice::ops
