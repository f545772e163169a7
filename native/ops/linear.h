// y = x W^T (+ b); W is [out, in].
#pragma once

#include <ATen/ATen.h>

#include "ops/instruction_set.h"

namespace metavoice::ops {

// x [..., in] -> [..., out] in the dtype of x; weights of a narrower one are widened. On the CPU a decode step, which is
// x [rows, in] or [rows, 1, in], goes through our own loops: there the numbers of a row do not depend on how many others there
// are, nor on the number of threads. So do prompts on a CPU with AVX2 and no more, for which libtorch has nothing in 16 bit and
// half the speed in float32. All else is libtorch's.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

// sum [..., out] float32 += linear(x, weight, bias). In the loops the product is not rounded before.
void add_linear(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias = {});

// The loops: contiguous, on the CPU; weights of float32, float16 or bfloat16 as they lie, x of their dtype or float32. Sums are
// float32, rounded once. x [rows, in], weight [out, in] -> [rows, out] in the dtype of x
at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& weight, InstructionSet instructions = instruction_sets().back());
// The same, added to sum [rows, out] float32.
void add_linear_rows(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight, InstructionSet instructions = instruction_sets().back());

}  // namespace metavoice::ops
