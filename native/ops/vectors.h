// Vectors of 16 numbers, which a compiler maps to what the processor has: the order of every sum is written down, and with
// it the bits.
#pragma once

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstdint>
#include <cstring>

#if defined(__GNUC__) && !defined(__clang__)
// The vectors never cross a call that is not inlined.
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

#define METAVOICE_INLINE inline __attribute__((always_inline))

namespace metavoice::ops {

constexpr int64_t kLanes = 16;

using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = int32_t __attribute__((vector_size(kLanes * sizeof(int32_t))));
using Words = uint32_t __attribute__((vector_size(kLanes * sizeof(uint32_t))));
using Halves = uint16_t __attribute__((vector_size(kLanes * sizeof(uint16_t))));

template <class Vector, class Pointer>
METAVOICE_INLINE Vector load(const Pointer* from) {
  Vector result;
  std::memcpy(&result, from, sizeof(result));
  return result;
}

METAVOICE_INLINE Floats floats(const float* from) { return load<Floats>(from); }

METAVOICE_INLINE Floats floats(const c10::BFloat16* from) {
  return (Floats)(__builtin_convertvector(load<Halves>(from), Words) << 16);
}

METAVOICE_INLINE Floats floats(const c10::Half* from) {
  // Shifted into place, the exponent of a normal number is off by a factor, that of a subnormal by a sum.
  const Words wide = __builtin_convertvector(load<Halves>(from), Words) << 16;
  const Words twice = wide + wide;
  const Floats normal = (Floats)((twice >> 4) + (0xE0U << 23)) * 0x1.0p-112F;
  const Floats subnormal = (Floats)((twice >> 17) | (126U << 23)) - 0.5F;
  const Words small = (Words)(twice < (1U << 27));
  return (Floats)((wide & 0x80000000U) | (small & (Words)subnormal) | (~small & (Words)normal));
}

}  // namespace metavoice::ops
