#include "ops/quantized_linear.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "core/error.h"
#include "ops/libtorch_only.h"

namespace metavoice::ops {

namespace {

using core::Quantization;

int64_t blocks_of(int64_t out) { return (out + kPackedColumns - 1) / kPackedColumns; }

// Calls move(place in rows, place in blocks) for each word of [out, count], which blocks hold as [blocks, count, 32].
template <class Move>
void for_words(int64_t out, int64_t count, const Move& move) {
  constexpr int64_t kAtOnce = 32;  // of a row, so that what is read and what is written stays in the cache
  at::parallel_for(0, blocks_of(out), 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      for (int64_t first = 0; first < count; first += kAtOnce)
        for (int64_t row = block * kPackedColumns; row < std::min(out, (block + 1) * kPackedColumns); ++row)
          for (int64_t i = first; i < std::min(count, first + kAtOnce); ++i)
            move(row * count + i, (block * count + i) * kPackedColumns + row % kPackedColumns);
  });
}

template <class Word, class Turn>
void to_blocks(const at::Tensor& rows, at::Tensor& blocks, const Turn& turn) {
  const auto* from = static_cast<const char*>(rows.const_data_ptr());
  auto* to = static_cast<Word*>(blocks.mutable_data_ptr());
  for_words(rows.size(0), rows[0].nbytes() / sizeof(Word), [&](int64_t source, int64_t target) {
    Word word;  // a mapped file promises no alignment
    std::memcpy(&word, from + source * sizeof(Word), sizeof(Word));
    to[target] = turn(word);
  });
}

template <class Word, class Turn>
void to_rows(const at::Tensor& blocks, at::Tensor& rows, const Turn& turn) {
  const auto* from = static_cast<const Word*>(blocks.const_data_ptr());
  auto* to = static_cast<Word*>(rows.mutable_data_ptr());
  for_words(rows.size(0), rows[0].nbytes() / sizeof(Word), [&](int64_t target, int64_t source) { to[target] = turn(from[source]); });
}

// Zeros, in large pages where the system has them: a step reads all of a matrix, and has fewer addresses to look up.
at::Tensor zeros_in_large_pages(at::IntArrayRef shape, const at::TensorOptions& options) {
  at::Tensor memory = at::empty(shape, options);
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<uintptr_t>(memory.data_ptr()), first = (begin + kPage - 1) / kPage * kPage, end = begin + memory.nbytes();
  // Advice: nothing is lost where it is not taken.
  if (memory.nbytes() > (size_t{1} << 22)) ::madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
#endif
  return memory.zero_();
}

template <class Word>
Word same(Word word) { return word; }

// Eight numbers of 4 bits: those at even places into the lower half, those at odd places into the upper half; and back.
uint32_t part(uint32_t word) {
  uint32_t swap = (word ^ (word >> 4)) & 0x00F000F0U;
  word ^= swap ^ (swap << 4);
  swap = (word ^ (word >> 8)) & 0x0000FF00U;
  return word ^ swap ^ (swap << 8);
}

uint32_t join(uint32_t word) {
  uint32_t swap = (word ^ (word >> 8)) & 0x0000FF00U;
  word ^= swap ^ (swap << 8);
  swap = (word ^ (word >> 4)) & 0x00F000F0U;
  return word ^ swap ^ (swap << 4);
}

}  // namespace

PackedMatrix pack(const QuantizedMatrix& matrix) {
  require_whole(matrix);
  core::require(matrix.numbers.device().is_cpu() && matrix.scales.device().is_cpu(), "a matrix on the CPU to pack");
  core::require(matrix.out() > 0 && matrix.in() > 0, "a matrix of numbers to pack");
  const int64_t out = matrix.out(), in = matrix.in(), blocks = blocks_of(out);
  PackedMatrix result{matrix.kind, out, in, {}, {}};
  at::Tensor numbers = matrix.numbers.contiguous();
  const at::Tensor scales = matrix.scales.contiguous();
  if (matrix.kind == Quantization::int8) {
    if (in % 2 != 0) numbers = at::constant_pad_nd(numbers, {0, 1});
    result.numbers = zeros_in_large_pages({blocks, (in + 1) / 2, kPackedColumns, 2}, numbers.options());
    to_blocks<uint16_t>(numbers, result.numbers, same<uint16_t>);
    result.scales = at::constant_pad_nd(scales, {0, blocks * kPackedColumns - out}).view({blocks, kPackedColumns});
    return result;
  }
  result.numbers = zeros_in_large_pages({blocks, in / 8, kPackedColumns, 4}, numbers.options());
  to_blocks<uint32_t>(numbers, result.numbers, part);
  result.scales = at::zeros({blocks, in / kInt4Group, kPackedColumns, 2}, scales.options());
  to_blocks<uint32_t>(scales, result.scales, same<uint32_t>);
  return result;
}

QuantizedMatrix unpack(const PackedMatrix& matrix) {
  const int64_t out = matrix.out, in = matrix.in;
  QuantizedMatrix result{matrix.kind, {}, {}};
  if (matrix.kind == Quantization::int8) {
    at::Tensor numbers = at::empty({out, (in + 1) / 2 * 2}, at::kChar);
    to_rows<uint16_t>(matrix.numbers, numbers, same<uint16_t>);
    result.numbers = numbers.narrow(1, 0, in).contiguous();
    result.scales = matrix.scales.flatten().narrow(0, 0, out).clone();
    return result;
  }
  result.numbers = at::empty({out, in / 2}, at::kByte);
  to_rows<uint32_t>(matrix.numbers, result.numbers, join);
  result.scales = at::empty({out, in / kInt4Group, 2}, at::kBFloat16);
  to_rows<uint32_t>(matrix.scales, result.scales, same<uint32_t>);
  return result;
}

at::Tensor quantized_linear(const at::Tensor& x, const PackedMatrix& matrix) {
  core::require(x.device().is_cpu() && x.is_floating_point() && x.dim() > 0 && x.size(-1) == matrix.in, "rows on the CPU, as long as those of the matrix");
  if (LibtorchOnly* plain = LibtorchOnly::current()) return plain->linear(x, matrix);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = matrix.out;
  const at::Tensor rows = x.reshape({-1, matrix.in}).to(at::kFloat).contiguous();
  at::Tensor out = at::empty({rows.size(0), matrix.out}, rows.options());
  quantized_linear_rows(rows, matrix, instruction_sets().back(), out);
  return out.to(x.scalar_type()).view(shape);
}

at::Tensor quantized_linear_plain(const at::Tensor& x, const QuantizedMatrix& matrix) { return at::linear(x, dequantize(matrix, x.scalar_type())); }

}  // namespace metavoice::ops
