// y = x W^T with a quantised W [out, in]. On the CPU our own loops: x is rounded to int16 with one step for each row and 128
// columns (the largest of them / 32767), sums of products within these are exact, and added in float32 one after another. So the
// bits of a number depend on its row and its column alone, not on other rows, threads or instructions.
#pragma once

#include <ATen/ATen.h>

#include "ops/instruction_set.h"
#include "ops/quantization.h"

namespace metavoice::ops {

// Columns of the product lie side by side, 32 in a block, so that a lane of a register sums one of them; what is missing in the
// last block is zero.
constexpr int64_t kPackedColumns = 32;

// In the order that the loops read.
//   int8  numbers int8 [blocks, ⌈in / 2⌉, 32, 2]; scales bfloat16 [blocks, 32]
//   int4  numbers uint8 [blocks, in / 8, 32, 4], of two 16-bit fields: numbers 0, 2, 4, 6 of eight along the row in the first,
//         from the lowest bits up, 1, 3, 5, 7 in the second; scales bfloat16 [blocks, in / 128, 32, 2]
struct PackedMatrix {
  core::Quantization kind = core::Quantization::none;
  int64_t out = 0, in = 0;
  at::Tensor numbers, scales;
};

// On the CPU. Each undoes the other.
PackedMatrix pack(const QuantizedMatrix& matrix);
QuantizedMatrix unpack(const PackedMatrix& matrix);

// On the CPU. x [..., in] of any floating dtype and any number of rows -> [..., out] in that dtype. A row that is not finite
// becomes a row of NaN.
at::Tensor quantized_linear(const at::Tensor& x, const PackedMatrix& matrix);

// The same by libtorch, on any device: W becomes whole, in the dtype of x, for the moment.
at::Tensor quantized_linear_plain(const at::Tensor& x, const QuantizedMatrix& matrix);

// --------------------------------------------------------------------------------------------------------- the loops

// x [rows, in], out [rows, matrix.out]: float32, contiguous, on the CPU.
void quantized_linear_rows(const at::Tensor& x, const PackedMatrix& matrix, InstructionSet instructions, at::Tensor& out);

}  // namespace metavoice::ops
