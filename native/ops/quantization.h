// Matrices of integers with scales, as the reference quantises them (FQ of metavoice-src: 38-148, 162-198, 258-361). Weights
// are rounded to bfloat16 first.
//   int8  a row, symmetric: s = max(max|w| / 127.5, 2^-23) in float32, q = w / s rounded, within [-128, 127]; w is about q · s.
//   int4  a group of 128 of a row: s = max(max - min, 1e-6) / 15 and z = min + 8 · s in bfloat16, an operation at a time,
//         q = (w - (z - 8 · s)) / s rounded, within [0, 15]; w is about (q - 8) · s + z.
// Quotients are float32, halves are rounded to even. Scales and zeros are stored as bfloat16, that of int8 after its use.
#pragma once

#include <ATen/ATen.h>

#include "core/quantization.h"

namespace metavoice::ops {

constexpr int64_t kInt4Group = 128;

// As files hold it. int8: numbers int8 [out, in], scales bfloat16 [out]. int4: numbers uint8 [out, in / 2], number 2i in the low
// half of a byte and 2i + 1 in the high one, and scales bfloat16 [out, in / 128, 2], of a scale and a zero.
struct QuantizedMatrix {
  core::Quantization kind = core::Quantization::none;
  at::Tensor numbers, scales;

  int64_t out() const { return numbers.size(0); }
  int64_t in() const { return kind == core::Quantization::int4 ? 2 * numbers.size(1) : numbers.size(1); }
};

// weight [out, in] of any floating dtype and on any device, where the result will be; for int4 `in` is a multiple of 128.
// ERR_CHECKPOINT for numbers that are not finite, or of which int4 can't hold the range.
QuantizedMatrix quantize(const at::Tensor& weight, core::Quantization kind);

// -> [out, in], where the matrix is
at::Tensor dequantize(const QuantizedMatrix& matrix, at::ScalarType dtype);

// That the tensors are what QuantizedMatrix says: a promise between our floors.
void require_whole(const QuantizedMatrix& matrix);

}  // namespace metavoice::ops
