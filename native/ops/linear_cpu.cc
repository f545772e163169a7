// Products of decode steps. The weights are read as they lie in the file, once for all rows; what is done with them is in
// linear_cpu.h, compiled for each set of instructions.
#include <algorithm>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

#include "core/error.h"
#include "core/team.h"
#include "ops/linear.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

constexpr int kColumns = 4;
// Of many rows: so many rows and columns at a time, in pieces of so many numbers.
constexpr int kManyRows = 24;
constexpr int kManyColumns = 8;
constexpr int64_t kPiece = 512;
constexpr int64_t kFewestOfMany = 8;
constexpr int64_t kBytesAhead = 1024;  // measured, with 4 and 8 columns at a time

enum class Output { float32, float16, bfloat16, added };

struct Product {
  const void* x;       // [rows, in], as the loops read it
  const void* weight;  // [outs, in]
  void* out;           // [rows, outs]
  Output output;
  int64_t rows, in, outs;
};

struct Kernel {
  void (*arrange)(const void* row, float* to, int64_t in);  // null: x is read as it lies
  void (*columns)(const Product& product, int64_t column);  // columns [column, column + kColumns) of all rows
  void (*columns_of_many)(const Product& product, int64_t column);  // kManyColumns of them, with the same bits; or null
};

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

// Four sums of a row.
METAVOICE_INLINE void store(const Product& product, int64_t row, int64_t column, const float (&sums)[kColumns]) {
  const int64_t first = row * product.outs + column;
  const auto put = [&](auto* out) {
    for (int c = 0; c < kColumns; ++c) out[first + c] = static_cast<std::remove_reference_t<decltype(*out)>>(sums[c]);
  };
  switch (product.output) {
    case Output::float32: put(static_cast<float*>(product.out)); break;
    case Output::float16: put(static_cast<c10::Half*>(product.out)); break;
    case Output::bfloat16: put(static_cast<c10::BFloat16*>(product.out)); break;
    case Output::added:
      for (int c = 0; c < kColumns; ++c) static_cast<float*>(product.out)[first + c] += sums[c];
  }
}

}  // namespace

}  // namespace metavoice::ops

#define METAVOICE_SET portable
#define METAVOICE_LEVEL 0
#define METAVOICE_TARGET
#include "ops/linear_cpu.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define METAVOICE_SET avx2
#define METAVOICE_LEVEL 1
#define METAVOICE_TARGET __attribute__((target("avx2,fma,f16c")))
#include "ops/linear_cpu.h"

#define METAVOICE_SET avx512
#define METAVOICE_LEVEL 2
#define METAVOICE_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#include "ops/linear_cpu.h"

#define METAVOICE_SET avx512_bf16
#define METAVOICE_LEVEL 3
#define METAVOICE_TARGET __attribute__((target("avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#include "ops/linear_cpu.h"
#endif

namespace metavoice::ops {

namespace {

Kernel kernel_of(InstructionSet instructions, at::ScalarType x, at::ScalarType weight) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (instructions >= InstructionSet::avx512_bf16) return avx512_bf16::kernel(x, weight);
  if (instructions >= InstructionSet::avx512) return avx512::kernel(x, weight);
  if (instructions >= InstructionSet::avx2) return avx2::kernel(x, weight);
#endif
  return portable::kernel(x, weight);
}

Output output_of(at::ScalarType dtype) {
  return dtype == at::kFloat ? Output::float32 : dtype == at::kHalf ? Output::float16 : Output::bfloat16;
}

// The columns behind the last four, beside columns of nothing.
void last_columns(const Kernel& kernel, const Product& product, const at::Tensor& weight, const at::Tensor& out) {
  const int64_t first = product.outs - product.outs % kColumns, count = product.outs - first;
  if (count == 0) return;
  const at::Tensor last = at::zeros({kColumns, product.in}, weight.options());
  last.narrow(0, 0, count).copy_(weight.narrow(0, first, count));
  const at::Tensor sums = at::empty({product.rows, kColumns}, weight.options().dtype(at::kFloat));
  kernel.columns({product.x, last.data_ptr(), sums.data_ptr(), Output::float32, product.rows, product.in, kColumns}, 0);
  const at::Tensor to = out.narrow(1, first, count), from = sums.narrow(1, 0, count);
  if (product.output == Output::added) to.add_(from);
  else to.copy_(from);
}

void multiply(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out, Output output, InstructionSet instructions) {
  const at::ScalarType dtype = weight.scalar_type();
  core::require(x.is_contiguous() && weight.is_contiguous() && out.is_contiguous() && x.size(1) == weight.size(1), "matrices in order");
  core::require(dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16, "weights of float32, float16 or bfloat16");
  core::require(x.scalar_type() == dtype || x.scalar_type() == at::kFloat, "activations of the weights' dtype or float32");
  const Kernel kernel = kernel_of(instructions, x.scalar_type(), dtype);
  const int64_t rows = x.size(0), in = x.size(1), outs = weight.size(0);
  at::Tensor arranged = x;
  if (kernel.arrange != nullptr) {
    arranged = at::empty({rows, in}, x.options().dtype(at::kFloat));
    for (int64_t row = 0; row < rows; ++row)
      kernel.arrange(static_cast<const char*>(x.data_ptr()) + row * in * x.element_size(), arranged.data_ptr<float>() + row * in, in);
  }
  const Product product{arranged.data_ptr(), weight.data_ptr(), out.data_ptr(), output, rows, in, outs};
  const bool many = rows >= kFewestOfMany && kernel.columns_of_many != nullptr;
  const int64_t together = many ? kManyColumns : kColumns, blocks = outs / together;
  const auto columns = many ? kernel.columns_of_many : kernel.columns;
  // Pieces of a few microseconds, so that nobody waits long for the last one; of some twenty where there are enough of them, for
  // what lies side by side is read fastest by one thread.
  const int64_t products = std::max<int64_t>(1, rows * in * together), least = std::max<int64_t>(1, (int64_t{1} << 16) / products);
  const int64_t piece = std::max(least, std::min((int64_t{1} << 18) / products, blocks / 16));
  core::share_work(blocks, piece, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) columns(product, index * together);
  });
  if (outs - blocks * together >= kColumns) kernel.columns(product, blocks * together);
  last_columns(kernel, product, weight, out);
}

}  // namespace

at::Tensor linear_rows(const at::Tensor& x, const at::Tensor& weight, InstructionSet instructions) {
  at::Tensor out = at::empty({x.size(0), weight.size(0)}, x.options());
  multiply(x, weight, out, output_of(x.scalar_type()), instructions);
  return out;
}

void add_linear_rows(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight, InstructionSet instructions) {
  core::require(sum.scalar_type() == at::kFloat && sum.sizes() == at::IntArrayRef({x.size(0), weight.size(0)}), "sums of float32");
  multiply(x, weight, sum, Output::added, instructions);
}

}  // namespace metavoice::ops
