#include "ops/libtorch_only.h"

#include <vector>

namespace metavoice::ops {

namespace {

using core::Quantization;

// Columns of a product that libtorch's int4 kernels take at a time, and k tiles that only those of GPUs look at.
constexpr int64_t kInt4Columns = 64, kInnerTiles = 8;

// [out, in / 2] -> [out, in]
at::Tensor nibbles(const at::Tensor& numbers) {
  const at::Tensor low = numbers.bitwise_and(15), high = numbers.bitwise_right_shift(4);
  return at::stack({low, high}, 2).view({numbers.size(0), -1});
}

}  // namespace

const LibtorchOnly::Matrix& LibtorchOnly::known(const PackedMatrix& matrix, at::ScalarType dtype) {
  Matrix& found = matrices_[{matrix.numbers.const_data_ptr(), dtype}];
  if (found.scales.defined()) return found;
  const QuantizedMatrix stored = unpack(matrix);
  if (matrix.kind == Quantization::int8) {
    found = {stored.numbers, stored.scales.to(dtype)};
  } else {
    found.scales = stored.scales.transpose(0, 1).to(dtype).contiguous();
    if (matrix.out % kInt4Columns == 0) found.numbers = at::_convert_weight_to_int4pack_for_cpu(nibbles(stored.numbers).to(at::kInt), kInnerTiles);
  }
  return found;
}

at::Tensor LibtorchOnly::linear(const at::Tensor& x, const PackedMatrix& matrix) {
  const Matrix& held = known(matrix, x.scalar_type());
  if (!held.numbers.defined()) return quantized_linear_plain(x, unpack(matrix));
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = matrix.out;
  const at::Tensor rows = x.reshape({-1, matrix.in}).contiguous();
  const at::Tensor product = matrix.kind == Quantization::int8 ? at::_weight_int8pack_mm(rows, held.numbers, held.scales)
                                                               : at::_weight_int4pack_mm_for_cpu(rows, held.numbers, kInt4Group, held.scales);
  return product.view(shape);
}

}  // namespace metavoice::ops
