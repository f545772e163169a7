// Small matrices side by side: y[g] = x[g] W[g] + b[g]. On one thread and on buffers that the caller keeps, for what is
// computed a few thousand times a second and is too little to be handed out.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace metavoice::ops {

// Columns that are computed together.
constexpr int64_t kPanel = 8;

// [groups, in, out] -> [groups, panels, in, kPanel], zeros beyond `out`: read once from front to back.
at::Tensor panels_of(const at::Tensor& weight);

// x [rows, groups, in] -> out [rows, groups, outs]; weight and bias as panels, the bias with in = 1. The bits of a number
// depend on its row and its column alone.
void grouped_linear(const float* x, int64_t rows, const at::Tensor& weight, const at::Tensor& bias, int64_t outs, float* out);

}  // namespace metavoice::ops
