// Compiled with -ffp-contract=off (CMakeLists.txt): where a compiler may fuse a product with a sum it does so for one set of
// instructions and not for another, and bits would differ. Fusing them everywhere would be slow where the processor can't.
#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "core/team.h"
#include "ops/quantized_linear.h"
#include "ops/vectors.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define METAVOICE_X86 1
#endif

namespace metavoice::ops {

namespace {

using core::Quantization;

constexpr int64_t kGroup = kInt4Group;
constexpr int64_t kAhead = 2048;        // bytes
constexpr float kRound = 12582912.0F;   // 1.5 · 2^23: adding it rounds to an integer, which its lowest bits then hold
constexpr float kLeast = 0x1.0p-100F;   // below it steps would lose their digits

struct Product {
  const int16_t* x;          // [rows, groups, 128], zeros behind the last
  const float* steps;        // [rows, groups]
  const int32_t* totals;     // [rows, groups], sums of x
  const uint8_t* numbers;    // as PackedMatrix says
  const uint16_t* scales;    // bfloat16
  float* out;                // [rows, outs]
  int64_t rows, outs, groups, pairs;
};

struct Loops {
  void (*int8)(const Product&, int64_t block);
  void (*int4)(const Product&, int64_t block);
  void (*round)(const float* x, int64_t in, int16_t* numbers, float* steps, int32_t* totals);
};

struct Step {
  float step;     // NaN for what is not finite
  float inverse;  // 0: the numbers are zeros
};

// Of a group whose largest magnitude has these bits.
METAVOICE_INLINE Step step_of(int32_t bits) {
  if (bits >= 0x7F800000) return {std::numeric_limits<float>::quiet_NaN(), 0};
  const auto largest = std::bit_cast<float>(bits);
  if (largest < kLeast) return {0, 0};
  return {largest / 32767.0F, 32767.0F / largest};
}

METAVOICE_INLINE float widened(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// A sum is finished before the next begins: gcc would gather the products first, more than there are registers for.
#define METAVOICE_IN_TURN(sum) asm("" : "+v"(sum))

namespace baseline {

#define METAVOICE_TARGET
constexpr int kLanes = 4;
constexpr int kSums = 8;
constexpr int kMostRows = 2;
using Ints = int32_t __attribute__((vector_size(16)));
using Words = uint32_t __attribute__((vector_size(16)));
using Halves = uint16_t __attribute__((vector_size(16)));
using Floats = float __attribute__((vector_size(16)));
using Narrow = int16_t __attribute__((vector_size(8)));

METAVOICE_INLINE Ints pairs_of(const uint8_t* from) {
  using Bytes = int8_t __attribute__((vector_size(8)));
  using Shorts = int16_t __attribute__((vector_size(16)));
  return (Ints)__builtin_convertvector(load<Bytes>(from), Shorts);
}

METAVOICE_INLINE Ints both(const int16_t* from) { return Ints{} + load<int32_t>(from); }

METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}

#include "ops/quantized_linear_loops.h"
#undef METAVOICE_TARGET

}  // namespace baseline

#if METAVOICE_X86

namespace avx2 {

#define METAVOICE_TARGET __attribute__((target("avx2")))
constexpr int kLanes = 8;
constexpr int kSums = 8;
constexpr int kMostRows = 4;
using Ints = int32_t __attribute__((vector_size(32)));
using Words = uint32_t __attribute__((vector_size(32)));
using Halves = uint16_t __attribute__((vector_size(32)));
using Floats = float __attribute__((vector_size(32)));
using Narrow = int16_t __attribute__((vector_size(16)));

METAVOICE_TARGET METAVOICE_INLINE Ints pairs_of(const uint8_t* from) {
  return (Ints)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

METAVOICE_TARGET METAVOICE_INLINE Ints both(const int16_t* from) { return (Ints)_mm256_set1_epi32(load<int32_t>(from)); }

METAVOICE_TARGET METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  Ints next = sum + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
  METAVOICE_IN_TURN(next);
  return next;
}

#include "ops/quantized_linear_loops.h"
#undef METAVOICE_TARGET

}  // namespace avx2

namespace avx512 {

#define METAVOICE_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2")))
constexpr int kLanes = 16;
constexpr int kSums = 16;
constexpr int kMostRows = 8;
using Ints = int32_t __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));
using Narrow = int16_t __attribute__((vector_size(32)));

METAVOICE_TARGET METAVOICE_INLINE Ints pairs_of(const uint8_t* from) {
  return (Ints)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

METAVOICE_TARGET METAVOICE_INLINE Ints both(const int16_t* from) { return (Ints)_mm512_set1_epi32(load<int32_t>(from)); }

METAVOICE_TARGET METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  Ints next = sum + (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b);
  METAVOICE_IN_TURN(next);
  return next;
}

#include "ops/quantized_linear_loops.h"
#undef METAVOICE_TARGET

}  // namespace avx512

namespace avx512_vnni {

#define METAVOICE_TARGET __attribute__((target("avx512vnni,avx512f,avx512bw,avx512vl,avx512dq,avx2")))
using avx512::both, avx512::Floats, avx512::Halves, avx512::Ints, avx512::kLanes, avx512::kMostRows, avx512::kSums, avx512::Narrow,
    avx512::pairs_of, avx512::Words;

METAVOICE_TARGET METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}

#include "ops/quantized_linear_loops.h"
#undef METAVOICE_TARGET

}  // namespace avx512_vnni

#endif

Loops loops_of(InstructionSet instructions) {
#if METAVOICE_X86
  if (instructions >= InstructionSet::avx512_vnni) return avx512_vnni::loops();
  if (instructions >= InstructionSet::avx512) return avx512::loops();
  if (instructions >= InstructionSet::avx2) return avx2::loops();
#endif
  return baseline::loops();
}

}  // namespace

void quantized_linear_rows(const at::Tensor& x, const PackedMatrix& matrix, InstructionSet instructions, at::Tensor& out) {
  const int64_t rows = x.size(0), in = matrix.in, groups = (in + kGroup - 1) / kGroup, blocks = matrix.numbers.size(0);
  core::require(x.is_contiguous() && out.is_contiguous() && x.size(1) == in && out.size(0) == rows && out.size(1) == matrix.out, "matrices in order");
  core::require(matrix.numbers.is_contiguous() && matrix.scales.is_contiguous() && matrix.kind != Quantization::none, "a packed matrix");
  if (rows == 0) return;
  const Loops loops = loops_of(instructions);
  const at::Tensor numbers = at::empty({rows, groups, kGroup}, at::kShort), steps = at::empty({rows, groups}, at::kFloat), totals = at::empty({rows, groups}, at::kInt);
  const auto* from = x.const_data_ptr<float>();
  core::share_work(rows, (int64_t{1} << 16) / in, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      loops.round(from + row * in, in, numbers.data_ptr<int16_t>() + row * groups * kGroup, steps.data_ptr<float>() + row * groups, totals.data_ptr<int32_t>() + row * groups);
  });
  const Product product{numbers.data_ptr<int16_t>(), steps.data_ptr<float>(), totals.data_ptr<int32_t>(), static_cast<const uint8_t*>(matrix.numbers.const_data_ptr()),
                        static_cast<const uint16_t*>(matrix.scales.const_data_ptr()), out.data_ptr<float>(), rows, matrix.out, groups, (in + 1) / 2};
  const auto columns = matrix.kind == Quantization::int4 ? loops.int4 : loops.int8;
  // Pieces of a few microseconds, as in linear_cpu.cc.
  core::share_work(blocks, (int64_t{1} << 16) / (rows * in * kPackedColumns), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) columns(product, block);
  });
}

}  // namespace metavoice::ops
