// Each number of the product is a sum over the lanes of a vector, a lane at a time along the row, then over the lanes in a
// fixed tree: so its bits depend on its row and its column alone. A block of rows by columns is summed at once, as many as
// there are registers for. Vectors are as wide as registers: gcc keeps wider ones in memory.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "ops/linear.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

constexpr int kColumns = 4;
constexpr int64_t kAhead = 256;  // numbers; measured, with 4 and 8 columns at a time

using Floats8 = float __attribute__((vector_size(8 * sizeof(float))));

// The sums of the lanes of four vectors.
METAVOICE_INLINE void sum_lanes(const Floats8& a, const Floats8& b, const Floats8& c, const Floats8& d, float* sums) {
  const Floats8 ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  const Floats8 cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(c, d, 4, 5, 6, 7, 12, 13, 14, 15);
  const Floats8 all = __builtin_shufflevector(ab, cd, 0, 1, 4, 5, 8, 9, 12, 13) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7, 10, 11, 14, 15);
  for (int i = 0; i < 4; ++i) sums[i] = all[2 * i] + all[2 * i + 1];
}

METAVOICE_INLINE void sum_lanes(const Floats& a, const Floats& b, const Floats& c, const Floats& d, float* sums) {
  const Floats ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                    __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  const Floats cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
                    __builtin_shufflevector(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  const Floats all = __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                     __builtin_shufflevector(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  for (int i = 0; i < 4; ++i) sums[i] = (all[4 * i] + all[4 * i + 2]) + (all[4 * i + 1] + all[4 * i + 3]);
}

struct Product {
  const float* x;
  const float* weight;
  float* out;
  int64_t rows, in, outs;
};

// Rows [row, row + kRows) of columns [column, column + kColumns). Who reads the weights first asks for them ahead.
template <class Vector, int kRows, bool kFirst>
METAVOICE_INLINE void block(const Product& product, int64_t row, int64_t column) {
  constexpr int64_t kWidth = sizeof(Vector) / sizeof(float);
  const int64_t in = product.in, whole = in - in % kWidth;
  const float* x = product.x + row * in;
  const float* weight = product.weight + column * in;
  Vector sums[kRows][kColumns] = {};
  for (int64_t i = 0; i < whole; i += kWidth) {
    Vector columns[kColumns];
#pragma GCC unroll 8
    for (int c = 0; c < kColumns; ++c) {
      columns[c] = load<Vector>(weight + c * in + i);
      if (kFirst) __builtin_prefetch(weight + c * in + i + kAhead);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Vector values = load<Vector>(x + r * in + i);
#pragma GCC unroll 8
      for (int c = 0; c < kColumns; ++c) sums[r][c] += values * columns[c];
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
    float* out = product.out + (row + r) * product.outs + column;
    sum_lanes(sums[r][0], sums[r][1], sums[r][2], sums[r][3], out);
    for (int c = 0; c < kColumns && whole < in; ++c)
      for (int64_t i = whole; i < in; ++i) out[c] += x[r * in + i] * weight[c * in + i];
  }
}

// Four columns for all rows, of which kMost at a time.
template <class Vector, int kMost>
METAVOICE_INLINE void columns_of(const Product& product, int64_t column) {
  const int64_t rows = product.rows;
  int64_t row = 0;
  if (rows >= kMost) {
    block<Vector, kMost, true>(product, 0, column);
    for (row = kMost; row + kMost <= rows; row += kMost) block<Vector, kMost, false>(product, row, column);
  } else if (rows >= 2) {
    block<Vector, 2, true>(product, 0, column);
    row = 2;
  }
  for (; row + 2 <= rows; row += 2) block<Vector, 2, false>(product, row, column);
  if (row < rows) block<Vector, 1, false>(product, row, column);
}

void columns_baseline(const Product& product, int64_t column) { columns_of<Floats8, 2>(product, column); }

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2,fma"))) void columns_avx2(const Product& product, int64_t column) { columns_of<Floats8, 2>(product, column); }
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))) void columns_avx512(const Product& product, int64_t column) { columns_of<Floats, 6>(product, column); }
#endif

using Columns = void (*)(const Product&, int64_t);

Columns best() {
#if defined(__x86_64__) && defined(__GNUC__)
  const auto has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (has_avx512 && __builtin_cpu_supports("fma")) return columns_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return columns_avx2;
#endif
  return columns_baseline;
}

}  // namespace

at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& weight) {
  static const Columns columns = best();
  core::require(x.is_contiguous() && weight.is_contiguous() && x.size(1) == weight.size(1), "matrices in order");
  const int64_t rows = x.size(0), in = x.size(1), outs = weight.size(0), whole = outs / kColumns;
  at::Tensor out = at::empty({rows, outs}, x.options());
  const Product product{x.data_ptr<float>(), weight.data_ptr<float>(), out.data_ptr<float>(), rows, in, outs};
  // A sleeping thread takes as long to wake as some hundred thousand products take: it is worth it for a million.
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 20) / std::max<int64_t>(1, rows * in * kColumns));
  at::parallel_for(0, whole, grain, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) columns(product, index * kColumns);
  });
  if (whole * kColumns == outs) return out;
  // What is left over, beside columns of nothing.
  const int64_t rest = outs - whole * kColumns;
  const at::Tensor last = at::zeros({kColumns, in}, weight.options()), sums = at::empty({rows, kColumns}, x.options());
  last.narrow(0, 0, rest).copy_(weight.narrow(0, outs - rest, rest));
  columns({product.x, last.data_ptr<float>(), sums.data_ptr<float>(), rows, in, kColumns}, 0);
  out.narrow(1, outs - rest, rest).copy_(sums.narrow(1, 0, rest));
  return out;
}

}  // namespace metavoice::ops
