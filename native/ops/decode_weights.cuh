// The forms in which the decode kernels read a matrix [out, in]. A lane takes 16 bytes of a row at a time (32 in float32):
// `kNumbers` numbers, which are eight neighbours from 8t of each 32 in a row, t being the lane's place among the four that
// share the row.
#pragma once

#include <type_traits>

#include "ops/decode_numbers.cuh"

namespace metavoice::decode {

// Four words, two numbers each.
using Fragment = uint4;

// As they are.
template <class T>
struct Whole {
  using Number = T;
  using Raw = Eight<T>;
  static constexpr int kNumbers = 8;
  static constexpr int kBits = 8 * sizeof(T);
  static constexpr bool kGroups = false;
  static constexpr bool kScaled = false;

  static __device__ __forceinline__ Raw read(const uint8_t* from) { return stream(reinterpret_cast<const T*>(from)); }
  static __device__ __forceinline__ Fragment numbers(const Raw& raw, int) { return raw.words[0]; }
};

// a - b, two at a time.
template <class T>
__device__ __forceinline__ uint32_t subtract(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 difference = __hsub2(*reinterpret_cast<const __half2*>(&a), *reinterpret_cast<const __half2*>(&b));
    return *reinterpret_cast<const uint32_t*>(&difference);
  } else {
    const __nv_bfloat162 difference = __hsub2(*reinterpret_cast<const __nv_bfloat162*>(&a), *reinterpret_cast<const __nv_bfloat162*>(&b));
    return *reinterpret_cast<const uint32_t*>(&difference);
  }
#else
  float x[2], y[2];
  Pair<T>::widen(a, x[0], x[1]);
  Pair<T>::widen(b, y[0], y[1]);
  return Pair<T>::narrow(x[0] - y[0], x[1] - y[1]);
#endif
}

// Two bytes of a word, from `shift`, to the low halves of 16 bit each.
__device__ __forceinline__ uint32_t spread(uint32_t word, int shift) { return (word >> shift & 0xffu) | ((word >> shift & 0xff00u) << 8); }

// int8, one scale a row: q * scale. All steps to the number are exact.
template <class T>
struct Bytes {
  using Number = T;
  using Raw = uint4;
  static constexpr int kNumbers = 16;
  static constexpr int kBits = 8;
  static constexpr bool kGroups = false;
  static constexpr bool kScaled = true;

  static __device__ __forceinline__ Raw read(const uint8_t* from) { return stream_words(from); }

  static __device__ __forceinline__ Fragment numbers(const Raw& raw, int part) {
    const uint32_t first = part == 0 ? raw.x : raw.z, second = part == 0 ? raw.y : raw.w;
    return make_uint4(pair(first, 0), pair(first, 16), pair(second, 0), pair(second, 16));
  }

 private:
  static __device__ __forceinline__ uint32_t pair(uint32_t word, int shift) {
    if constexpr (std::is_same_v<T, __half>) {
      // 1024 + (q + 128), less 1152.
      const uint32_t bytes = shift == 0 ? word ^ 0x8080u : word ^ 0x80800000u;
      return subtract<T>(0x64006400u | two(bytes, shift), 0x64806480u);
    } else {
      // 128 + the lower seven bits, less 128 or 256, as the sign is.
      const uint32_t bytes = two(word, shift);
      return subtract<T>(0x43004300u | (bytes & 0x007f007fu), 0x43004300u | (bytes & 0x00800080u));
    }
  }
  static __device__ __forceinline__ uint32_t two(uint32_t word, int shift) {
#ifdef __CUDA_ARCH__
    return __byte_perm(word, 0, shift == 0 ? 0x4140 : 0x4342);
#else
    return spread(word, shift);
#endif
  }
};

// int4 in groups of 128 along the row, with a scale and a zero point each: (q - 8) * scale + zero, q of 0 to 15.
template <class T>
struct Nibbles {
  using Number = T;
  using Raw = uint4;
  static constexpr int kNumbers = 32;
  static constexpr int kBits = 4;
  static constexpr bool kGroups = true;
  static constexpr bool kScaled = false;

  static __device__ __forceinline__ Raw read(const uint8_t* from) { return stream_words(from); }

  // q - 8. Of eight neighbours, number 2i is nibble i of the word and number 2i + 1 is nibble i + 4.
  static __device__ __forceinline__ Fragment numbers(const Raw& raw, int part) {
    const uint32_t word = part == 0 ? raw.x : part == 1 ? raw.y : part == 2 ? raw.z : raw.w;
    return make_uint4(pair(word), pair(word >> 4), pair(word >> 8), pair(word >> 12));
  }

 private:
  static __device__ __forceinline__ uint32_t pair(uint32_t word) {
    const uint32_t two = word & 0x000f000fu;
    if constexpr (std::is_same_v<T, __half>) return subtract<T>(0x64006400u | two, 0x64086408u);  // 1024 + q, less 1032
    else return subtract<T>(0x43004300u | two, 0x43084308u);                                       // 128 + q, less 136
  }
};

}  // namespace metavoice::decode
