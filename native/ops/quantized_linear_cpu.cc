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
constexpr int64_t kBlock = 32;    // numbers of x with a step of their own, beside int4
constexpr int64_t kAhead = 2048;  // bytes
constexpr float kRound = 12582912.0F;   // 1.5 · 2^23: adding it rounds to an integer, which its lowest bits then hold
constexpr float kLeast = 0x1.0p-100F;   // below it steps would lose their digits

struct Product {
  const void* x;             // [rows, groups, 128], zeros behind the last: int16 beside int8, and int8 beside int4
  const float* steps;        // [rows, groups], beside int4 [rows, groups, 4]
  const float* totals;       // [rows, groups], sums of x, beside int4
  const uint8_t* numbers;    // as PackedMatrix says
  const uint16_t* scales;    // bfloat16
  float* out;                // [rows, outs]
  int64_t rows, outs, groups, pairs;
};

struct Loops {
  void (*int8)(const Product&, int64_t block);
  void (*int4)(const Product&, int64_t block);
  void (*round_int16)(const float* x, int64_t in, void* numbers, float* steps, float* totals);
  void (*round_int8)(const float* x, int64_t in, void* numbers, float* steps, float* totals);
};

struct Step {
  float step;     // NaN for what is not finite
  float inverse;  // 0: the numbers are zeros
};

// The largest magnitude has these bits, and is to be so many steps.
METAVOICE_INLINE Step step_of_bits(int32_t bits, float most) {
  if (bits >= 0x7F800000) return {std::numeric_limits<float>::quiet_NaN(), 0};
  const auto largest = std::bit_cast<float>(bits);
  if (largest < kLeast) return {0, 0};
  return {largest / most, most / largest};
}

using BlockBytes = int8_t __attribute__((vector_size(kBlock)));

METAVOICE_INLINE float widened(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

// A sum is finished before the next begins: gcc would gather the products first, more than there are registers for.
#define METAVOICE_IN_TURN(sum) asm("" : "+v"(sum))

namespace baseline {

#define METAVOICE_TARGET
constexpr int kLanes = 4;
constexpr int kSums = 8;
constexpr int kSumsInt4 = 4;
constexpr int kMostRows = 2;
using Ints = int32_t __attribute__((vector_size(16)));
using Words = uint32_t __attribute__((vector_size(16)));
using Halves = uint16_t __attribute__((vector_size(16)));
using Floats = float __attribute__((vector_size(16)));
using Narrow = int16_t __attribute__((vector_size(8)));
using NarrowBytes = int8_t __attribute__((vector_size(4)));
using Bytes = Ints;

METAVOICE_INLINE Ints pairs_of(const uint8_t* from) {
  using Bytes = int8_t __attribute__((vector_size(8)));
  using Shorts = int16_t __attribute__((vector_size(16)));
  return (Ints)__builtin_convertvector(load<Bytes>(from), Shorts);
}

METAVOICE_INLINE Ints both(const void* from) { return Ints{} + load<int32_t>(static_cast<const char*>(from)); }

METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  return sum + ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
}

// Of numbers without a sign in `a`, and with one in `b`.
METAVOICE_INLINE Bytes add_bytes(const Bytes& sum, const Ints& a, const Ints& b) {
  return sum + (a & 255) * ((b << 24) >> 24) + ((a >> 8) & 255) * ((b << 16) >> 24) + ((a >> 16) & 255) * ((b << 8) >> 24) + (a >> 24) * (b >> 24);
}

METAVOICE_INLINE Ints words_of(const Bytes& sum) { return sum; }

#include "ops/quantized_linear_loops.h"
#undef METAVOICE_TARGET

}  // namespace baseline

#if METAVOICE_X86

namespace avx2 {

#define METAVOICE_TARGET __attribute__((target("avx2")))
constexpr int kLanes = 8;
constexpr int kSums = 8;
constexpr int kSumsInt4 = 4;
constexpr int kMostRows = 4;
using Ints = int32_t __attribute__((vector_size(32)));
using Words = uint32_t __attribute__((vector_size(32)));
using Halves = uint16_t __attribute__((vector_size(32)));
using Floats = float __attribute__((vector_size(32)));
using Narrow = int16_t __attribute__((vector_size(16)));
using NarrowBytes = int8_t __attribute__((vector_size(8)));
using Bytes = Halves;  // sums of 16 bits: a block of products of 4 and 7 bits stays below 2^15

METAVOICE_TARGET METAVOICE_INLINE Ints pairs_of(const uint8_t* from) {
  return (Ints)_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

METAVOICE_TARGET METAVOICE_INLINE Ints both(const void* from) { return (Ints)_mm256_set1_epi32(load<int32_t>(static_cast<const char*>(from))); }

METAVOICE_TARGET METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  Ints next = sum + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b);
  METAVOICE_IN_TURN(next);
  return next;
}

METAVOICE_TARGET METAVOICE_INLINE Bytes add_bytes(const Bytes& sum, const Ints& a, const Ints& b) {
  Bytes next = sum + (Bytes)_mm256_maddubs_epi16((__m256i)a, (__m256i)b);
  METAVOICE_IN_TURN(next);
  return next;
}

METAVOICE_TARGET METAVOICE_INLINE Ints words_of(const Bytes& sum) { return (Ints)_mm256_madd_epi16((__m256i)sum, _mm256_set1_epi16(1)); }

#include "ops/quantized_linear_loops.h"
#undef METAVOICE_TARGET

}  // namespace avx2

namespace avx512 {

#define METAVOICE_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2")))
constexpr int kLanes = 16;
constexpr int kSums = 16;
constexpr int kSumsInt4 = 8;
constexpr int kMostRows = 8;
using Ints = int32_t __attribute__((vector_size(64)));
using Words = uint32_t __attribute__((vector_size(64)));
using Halves = uint16_t __attribute__((vector_size(64)));
using Floats = float __attribute__((vector_size(64)));
using Narrow = int16_t __attribute__((vector_size(32)));
using NarrowBytes = int8_t __attribute__((vector_size(16)));
using Bytes = Halves;

METAVOICE_TARGET METAVOICE_INLINE Ints pairs_of(const uint8_t* from) {
  return (Ints)_mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

METAVOICE_TARGET METAVOICE_INLINE Ints both(const void* from) { return (Ints)_mm512_set1_epi32(load<int32_t>(static_cast<const char*>(from))); }

METAVOICE_TARGET METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  Ints next = sum + (Ints)_mm512_madd_epi16((__m512i)a, (__m512i)b);
  METAVOICE_IN_TURN(next);
  return next;
}

METAVOICE_TARGET METAVOICE_INLINE Bytes add_bytes(const Bytes& sum, const Ints& a, const Ints& b) {
  Bytes next = sum + (Bytes)_mm512_maddubs_epi16((__m512i)a, (__m512i)b);
  METAVOICE_IN_TURN(next);
  return next;
}

METAVOICE_TARGET METAVOICE_INLINE Ints words_of(const Bytes& sum) { return (Ints)_mm512_madd_epi16((__m512i)sum, _mm512_set1_epi16(1)); }

#include "ops/quantized_linear_loops.h"
#undef METAVOICE_TARGET

}  // namespace avx512

namespace avx512_vnni {

#define METAVOICE_TARGET __attribute__((target("avx512vnni,avx512f,avx512bw,avx512vl,avx512dq,avx2")))
using avx512::both, avx512::Floats, avx512::Halves, avx512::Ints, avx512::kLanes, avx512::kMostRows, avx512::kSums, avx512::kSumsInt4,
    avx512::Narrow, avx512::NarrowBytes, avx512::pairs_of, avx512::Words;
using Bytes = Ints;

METAVOICE_TARGET METAVOICE_INLINE Ints add_products(const Ints& sum, const Ints& a, const Ints& b) {
  return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}

METAVOICE_TARGET METAVOICE_INLINE Bytes add_bytes(const Bytes& sum, const Ints& a, const Ints& b) {
  return (Bytes)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
}

METAVOICE_TARGET METAVOICE_INLINE Ints words_of(const Bytes& sum) { return sum; }

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
  const bool int4 = matrix.kind == Quantization::int4;
  const at::Tensor numbers = at::empty({rows, groups, kGroup}, int4 ? at::kChar : at::kShort);
  const at::Tensor steps = at::empty({rows, groups, int4 ? kGroup / kBlock : 1}, at::kFloat), totals = at::empty({rows, groups}, at::kFloat);
  const auto* from = x.const_data_ptr<float>();
  const auto round = int4 ? loops.round_int8 : loops.round_int16;
  auto* const to = static_cast<char*>(numbers.data_ptr());
  core::share_work(rows, (int64_t{1} << 16) / in, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      round(from + row * in, in, to + row * numbers.stride(0) * numbers.element_size(), steps.data_ptr<float>() + row * steps.stride(0), totals.data_ptr<float>() + row * groups);
  });
  const Product product{numbers.data_ptr(), steps.data_ptr<float>(), totals.data_ptr<float>(), static_cast<const uint8_t*>(matrix.numbers.const_data_ptr()),
                        static_cast<const uint16_t*>(matrix.scales.const_data_ptr()), out.data_ptr<float>(), rows, matrix.out, groups, (in + 1) / 2};
  const auto columns = int4 ? loops.int4 : loops.int8;
  // Pieces of a few microseconds, as in linear_cpu.cc.
  core::share_work(blocks, (int64_t{1} << 16) / (rows * in * kPackedColumns), [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) columns(product, block);
  });
}

}  // namespace metavoice::ops
