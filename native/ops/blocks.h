// Thirty-two numbers at once, in four vectors of eight floats: as wide as registers are without AVX-512, for gcc keeps wider
// ones in memory. Numbers narrower than a float lie several in a word and are taken out of words by shifts and masks, so the
// vectors hold them in an order of their own, which put_in_order() undoes when the sums are done.
#pragma once

#include "ops/vectors.h"

namespace metavoice::ops {

constexpr int64_t kBlock = 32;

struct Block {
  Floats8 parts[4];
};

// What spread() makes of a number, over the number. Exact: a power of two.
template <class T>
constexpr float kSpreadBy = 1.0F;
template <>
inline constexpr float kSpreadBy<int8_t> = 0x1.0p+24F;

METAVOICE_INLINE Block spread(const float* from) {
  return {{load<Floats8>(from), load<Floats8>(from + 8), load<Floats8>(from + 16), load<Floats8>(from + 24)}};
}

METAVOICE_INLINE Block spread(const c10::BFloat16* from) {
  const Words8 first = load<Words8>(from), second = load<Words8>(from + 16);
  return {{(Floats8)(first << 16), (Floats8)(first & 0xFFFF0000U), (Floats8)(second << 16), (Floats8)(second & 0xFFFF0000U)}};
}

METAVOICE_INLINE Block spread(const c10::Half* from) {
  const Words8 first = load<Words8>(from), second = load<Words8>(from + 16);
  return {{widen_halves<Floats8>((Words8)(first << 16)), widen_halves<Floats8>((Words8)(first & 0xFFFF0000U)), widen_halves<Floats8>((Words8)(second << 16)),
           widen_halves<Floats8>((Words8)(second & 0xFFFF0000U))}};
}

METAVOICE_INLINE Block spread(const int8_t* from) {
  const Words8 words = load<Words8>(from);
  return {{__builtin_convertvector((Ints8)(words << 24), Floats8), __builtin_convertvector((Ints8)((words << 16) & 0xFF000000U), Floats8),
           __builtin_convertvector((Ints8)((words << 8) & 0xFF000000U), Floats8), __builtin_convertvector((Ints8)(words & 0xFF000000U), Floats8)}};
}

// Numbers of two vectors in turn.
METAVOICE_INLINE void alternate(const Floats8& even, const Floats8& odd, Floats8& first, Floats8& second) {
  first = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
  second = __builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
}

// 32 numbers, in the order in which those that were spread lay in memory.
template <class T>
METAVOICE_INLINE void put_in_order(const Block& block, float* to) {
  Block sorted = block;
  if constexpr (sizeof(T) == 2) {
    alternate(block.parts[0], block.parts[1], sorted.parts[0], sorted.parts[1]);
    alternate(block.parts[2], block.parts[3], sorted.parts[2], sorted.parts[3]);
  } else if constexpr (sizeof(T) == 1) {
    Block pairs;
    alternate(block.parts[0], block.parts[2], pairs.parts[0], pairs.parts[1]);
    alternate(block.parts[1], block.parts[3], pairs.parts[2], pairs.parts[3]);
    alternate(pairs.parts[0], pairs.parts[2], sorted.parts[0], sorted.parts[1]);
    alternate(pairs.parts[1], pairs.parts[3], sorted.parts[2], sorted.parts[3]);
  }
  std::memcpy(to, &sorted, sizeof(sorted));
}

}  // namespace metavoice::ops
