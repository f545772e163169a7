// y = x W^T (+ b); W is [out, in], whole or quantised.
#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "core/weights.h"
#include "ops/decode_matrix.h"
#include "ops/quantized_linear.h"

namespace metavoice::layers {

struct Linear {
  at::Tensor weight = {};  // [out, in]; undefined where the matrix is quantised
  at::Tensor bias = {};    // [out], or undefined
  // A quantised matrix, in the order in which it is read: by the CPU's loops, or by the kernels of a decode step.
  std::optional<ops::PackedMatrix> packed = {};
  std::optional<ops::DecodeMatrix> reordered = {};

  // As the placement has it. Where that is quantised, the file holds the matrix so, or it is quantised here from the mapped
  // file, whose pages are let go.
  static Linear load(const core::Weights& weights, int64_t out, int64_t in);
  // Whole, in a dtype of its own.
  static Linear load(const core::Weights& weights, int64_t out, int64_t in, at::ScalarType dtype);

  int64_t out() const;
  int64_t in() const;
  core::Quantization quantization() const;

  // Computes in the dtype of x: where that is wider, this one matrix is upcast, if need be as a whole for the moment.
  at::Tensor forward(const at::Tensor& x) const;

  // sum [..., out] float32 += forward(x).
  void add_to(const at::Tensor& sum, const at::Tensor& x) const;

  // As it is held.
  int64_t bytes() const;
};

}  // namespace metavoice::layers
