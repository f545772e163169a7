#include "ops/decode_matrix.h"

namespace metavoice::ops {

namespace {

// Of each 32 numbers, a lane has eight neighbours: lanes first, then the 32s. Two 32s lie together in int8, four in int4.
at::Tensor lanes_first(const at::Tensor& numbers, int64_t together, int64_t bytes) {
  return numbers.view({numbers.size(0), -1, together, 4, bytes}).transpose(2, 3);
}

// `numbers` [out, group, lane, 32s, bytes] of lanes_first; the inverse is the same with the sizes exchanged.
at::Tensor lanes_last(const at::Tensor& numbers, int64_t together, int64_t bytes) {
  return numbers.view({numbers.size(0), -1, 4, together, bytes}).transpose(2, 3);
}

at::Tensor every_second(const at::Tensor& bytes, int64_t first) { return bytes.slice(-1, first, c10::nullopt, 2); }

at::Tensor low(const at::Tensor& bytes) { return at::bitwise_and(bytes, 15); }
at::Tensor high(const at::Tensor& bytes) { return at::bitwise_right_shift(bytes, 4); }
at::Tensor pair(const at::Tensor& lower, const at::Tensor& upper) { return at::bitwise_or(lower, at::bitwise_left_shift(upper, 4)); }

// Four bytes of eight neighbours, 2i beside 2i + 1, to a word whose lower half holds the even numbers and whose upper half
// holds the odd ones.
at::Tensor parted(const at::Tensor& words) {
  const at::Tensor first = every_second(words, 0), second = every_second(words, 1);
  return at::cat({pair(low(first), low(second)), pair(high(first), high(second))}, -1);
}

at::Tensor joined(const at::Tensor& words) {
  const at::Tensor even = words.narrow(-1, 0, 2), odd = words.narrow(-1, 2, 2);
  return at::stack({pair(low(even), low(odd)), pair(high(even), high(odd))}, -1).flatten(-2);
}

}  // namespace

DecodeMatrix reorder_for_decode(const QuantizedMatrix& matrix, at::ScalarType dtype) {
  const auto& [kind, numbers, scales] = matrix;
  const int64_t out = matrix.out(), in = matrix.in();
  if (kind == core::Quantization::int4) return {kind, in, parted(lanes_first(numbers, 4, 4)).reshape({out, in / 2}), scales.to(dtype).contiguous(), true};
  const bool served = in % kInt8Group == 0;
  return {kind, in, served ? lanes_first(numbers, 2, 8).reshape({out, in}) : numbers, scales.to(at::kFloat), served};
}

QuantizedMatrix in_stored_order(const DecodeMatrix& matrix) {
  const int64_t out = matrix.numbers.size(0);
  const at::Tensor scales = matrix.scales.to(at::kBFloat16);
  if (matrix.kind == core::Quantization::int4) return {matrix.kind, lanes_last(joined(matrix.numbers.view({out, -1, 4, 4, 4})).flatten(1), 4, 4).reshape({out, matrix.in / 2}), scales};
  return {matrix.kind, matrix.served ? lanes_last(matrix.numbers, 2, 8).reshape({out, matrix.in}) : matrix.numbers, scales};
}

}  // namespace metavoice::ops
