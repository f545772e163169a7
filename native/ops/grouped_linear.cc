// Each number is one sum from its bias on along the row. A block of rows by panels is summed at once, as many as there are
// registers for: eight of eight numbers.
#include "ops/grouped_linear.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

// Half of kLanes: a compiler without the wide registers keeps longer sums in memory.
using Panel = float __attribute__((vector_size(kPanel * sizeof(float))));

struct Product {
  const float* x;       // [rows, groups, in]
  const float* weight;  // [groups, panels, in, kPanel]
  const float* bias;    // [groups, panels, kPanel]
  float* out;           // [rows, groups, outs]
  int64_t rows, groups, in, outs, panels;
};

template <int kRows, int kPanels>
METAVOICE_INLINE void block(const Product& product, int64_t group, int64_t row, int64_t panel) {
  const int64_t in = product.in, stride = product.groups * in, first = group * product.panels + panel;
  const float* x = product.x + row * stride + group * in;
  const float* weight = product.weight + first * in * kPanel;
  Panel sums[kRows][kPanels];
#pragma GCC unroll 8
  for (int p = 0; p < kPanels; ++p)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[r][p] = load<Panel>(product.bias + (first + p) * kPanel);
  for (int64_t i = 0; i < in; ++i) {
    Panel columns[kPanels];
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) columns[p] = load<Panel>(weight + (p * in + i) * kPanel);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
      for (int p = 0; p < kPanels; ++p) sums[r][p] += x[r * stride + i] * columns[p];
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int p = 0; p < kPanels; ++p) {
      const int64_t column = (panel + p) * kPanel;
      float* to = product.out + ((row + r) * product.groups + group) * product.outs + column;
      if (column + kPanel <= product.outs) std::memcpy(to, &sums[r][p], sizeof(Panel));
      else std::memcpy(to, &sums[r][p], static_cast<size_t>(product.outs - column) * sizeof(float));
    }
}

template <int kRows>
METAVOICE_INLINE void rows_of(const Product& product, int64_t group, int64_t row) {
  int64_t panel = 0;
  if (kRows == 1)
    for (; panel + 8 <= product.panels; panel += 8) block<1, 8>(product, group, row, panel);
  for (; panel + 2 <= product.panels; panel += 2) block<kRows, 2>(product, group, row, panel);
  if (panel < product.panels) block<kRows, 1>(product, group, row, panel);
}

METAVOICE_INLINE void multiply(const Product& product) {
  for (int64_t group = 0; group < product.groups; ++group) {
    int64_t row = 0;
    for (; row + 4 <= product.rows; row += 4) rows_of<4>(product, group, row);
    for (; row < product.rows; ++row) rows_of<1>(product, group, row);
  }
}

void multiply_baseline(const Product& product) { multiply(product); }

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("avx2,fma"))) void multiply_avx2(const Product& product) { multiply(product); }
#endif

using Multiply = void (*)(const Product&);

Multiply best() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return multiply_avx2;
#endif
  return multiply_baseline;
}

}  // namespace

at::Tensor panels_of(const at::Tensor& weight) {
  core::require(weight.dim() == 3, "a matrix for each group");
  const int64_t groups = weight.size(0), in = weight.size(1), panels = (weight.size(2) + kPanel - 1) / kPanel;
  const at::Tensor padded = at::constant_pad_nd(weight, {0, panels * kPanel - weight.size(2)});
  return padded.view({groups, in, panels, kPanel}).permute({0, 2, 1, 3}).contiguous();
}

void grouped_linear(const float* x, int64_t rows, const at::Tensor& weight, const at::Tensor& bias, int64_t outs, float* out) {
  static const Multiply run = best();
  run({x, weight.const_data_ptr<float>(), bias.const_data_ptr<float>(), out, rows, weight.size(0), weight.size(2), outs, weight.size(1)});
}

}  // namespace metavoice::ops
