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
// As wide as registers are without AVX-512: gcc keeps wider ones in memory.
using Floats8 = float __attribute__((vector_size(8 * sizeof(float))));
using Ints8 = int32_t __attribute__((vector_size(8 * sizeof(int32_t))));
using Words8 = uint32_t __attribute__((vector_size(8 * sizeof(uint32_t))));
using Halves8 = uint16_t __attribute__((vector_size(8 * sizeof(uint16_t))));

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

// float16, each in the upper half of a word.
template <class Vector, class Bits>
METAVOICE_INLINE Vector widen_halves(const Bits& wide) {
  // Shifted into place, the exponent of a normal number is off by a factor, that of a subnormal by a sum.
  const Bits twice = wide + wide;
  const Vector normal = (Vector)((twice >> 4) + (0xE0U << 23)) * 0x1.0p-112F;
  const Vector subnormal = (Vector)((twice >> 17) | (126U << 23)) - 0.5F;
  const Bits small = (Bits)(twice < (1U << 27));
  return (Vector)((wide & 0x80000000U) | (small & (Bits)subnormal) | (~small & (Bits)normal));
}

METAVOICE_INLINE Floats floats(const c10::Half* from) {
  return widen_halves<Floats>(__builtin_convertvector(load<Halves>(from), Words) << 16);
}

METAVOICE_INLINE Floats8 floats8(const float* from) { return load<Floats8>(from); }

METAVOICE_INLINE Floats8 floats8(const c10::BFloat16* from) {
  return (Floats8)(__builtin_convertvector(load<Halves8>(from), Words8) << 16);
}

METAVOICE_INLINE Floats8 floats8(const c10::Half* from) {
  return widen_halves<Floats8>(__builtin_convertvector(load<Halves8>(from), Words8) << 16);
}

// Rounded to the nearest, to even in the middle.
METAVOICE_INLINE void put(const Floats8& values, float* to) { std::memcpy(to, &values, sizeof(values)); }

METAVOICE_INLINE void put(const Floats8& values, c10::BFloat16* to) {
  const Words8 bits = (Words8)values, rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const Words8 odd = (Words8)(bits + bits > 0xFF000000U);  // no numbers
  const Halves8 result = __builtin_convertvector((odd & 0x7FC0U) | (~odd & rounded), Halves8);
  std::memcpy(to, &result, sizeof(result));
}

METAVOICE_INLINE void put(const Floats8& values, c10::Half* to) {
  const Words8 bits = (Words8)values, twice = bits + bits;
  // What is too large becomes infinite; a sum with a power of two above the number drops the bits that a half has no room for.
  const Floats8 magnitude = ((Floats8)(bits & 0x7FFFFFFFU) * 0x1.0p+112F) * 0x1.0p-110F;
  const Words8 exponent = twice & 0xFF000000U, small = (Words8)(exponent < 0x71000000U);
  const Words8 bias = (small & 0x71000000U) | (~small & exponent);
  const Words8 sum = (Words8)((Floats8)((bias >> 1) + 0x07800000U) + magnitude);
  const Words8 odd = (Words8)(twice > 0xFF000000U);
  const Words8 number = ((sum >> 13) & 0x7C00U) + (sum & 0x0FFFU);
  const Halves8 result = __builtin_convertvector(((bits >> 16) & 0x8000U) | (odd & 0x7E00U) | (~odd & number), Halves8);
  std::memcpy(to, &result, sizeof(result));
}

// e^x for x <= 0, within 2 units in the last place (the polynomial of Cephes' expf); below -87 it is 0.
METAVOICE_INLINE Floats8 exponential(const Floats8& x) {
  constexpr float kRound = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer, which its lowest bits then hold
  const Ints8 vanishes = x < -87.0F;
  const Floats8 shifted = x * 1.44269504088896341F + kRound;
  const Floats8 whole = shifted - kRound;
  const Floats8 r = (x - whole * 0.693359375F) - whole * -2.12194440e-4F;
  Floats8 p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  const Floats8 value = p * r * r + r + 1.0F;
  const Ints8 scale = ((Ints8)shifted - 0x4B400000) << 23;
  return (Floats8)(((Ints8)value + scale) & ~vanishes);
}

}  // namespace metavoice::ops
