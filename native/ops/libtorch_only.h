// The other side of a measurement: what libtorch's own kernels would do in place of ours.
#pragma once

#include <ATen/ATen.h>

#include <map>
#include <utility>

#include "ops/quantized_linear.h"

namespace metavoice::ops {

// While one lives, matrix products of its thread go by libtorch's kernels alone, as if there were none of our own.
class LibtorchOnly {
 public:
  LibtorchOnly() : before_(current_) { current_ = this; }
  ~LibtorchOnly() { current_ = before_; }
  LibtorchOnly(const LibtorchOnly&) = delete;
  LibtorchOnly& operator=(const LibtorchOnly&) = delete;

  // That of this thread; null outside of any.
  static LibtorchOnly* current() { return current_; }

  // As quantized_linear(), by libtorch's products with integers on the CPU: x is as it is, and each matrix is put into their
  // order once, which takes as much memory again. A matrix that they do not serve becomes whole for the moment.
  at::Tensor linear(const at::Tensor& x, const PackedMatrix& matrix);

 private:
  struct Matrix {
    at::Tensor numbers, scales;  // undefined numbers: not served
  };
  const Matrix& known(const PackedMatrix& matrix, at::ScalarType dtype);

  static inline thread_local LibtorchOnly* current_ = nullptr;
  LibtorchOnly* before_;
  std::map<std::pair<const void*, at::ScalarType>, Matrix> matrices_;
};

}  // namespace metavoice::ops
