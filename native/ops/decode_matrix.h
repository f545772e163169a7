// A quantised matrix as the kernels of a decode step read it (ops/decode_step.h): the numbers of a file, in another order.
#pragma once

#include <ATen/ATen.h>

#include "ops/quantization.h"

namespace metavoice::ops {

// What lies together for the kernels of int8; a row that is no multiple of it stays as it is, and they do not serve it.
constexpr int64_t kInt8Group = 64;

struct DecodeMatrix {
  core::Quantization kind;
  int64_t in;
  at::Tensor numbers;  // [out, bytes of a row]
  at::Tensor scales;   // int8: [out] float32; int4: [out, in / 128, 2] of the model's dtype
  bool served;         // by the kernels, as far as the order goes
};

// On any device; `dtype` is the model's. Where that is float16, scales beyond it become infinite.
DecodeMatrix reorder_for_decode(const QuantizedMatrix& matrix, at::ScalarType dtype);

// The inverse: exact where the dtype holds the scales.
QuantizedMatrix in_stored_order(const DecodeMatrix& matrix);

}  // namespace metavoice::ops
