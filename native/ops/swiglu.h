// The gate of SwiGLU (Shazeer 2020).
#pragma once

#include <ATen/ATen.h>

namespace metavoice::ops {

// gate · sigmoid(gate) · up, number by number; both of one shape and dtype, and so is the result. On the CPU by a loop of our own:
// in float32, rounded once, and the bits of a number depend on nothing else. Elsewhere by libtorch.
at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace metavoice::ops
