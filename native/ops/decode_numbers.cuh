// Numbers of the decode kernels: how they are loaded, widened to float32 and rounded to their dtype.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

// Turing's instructions are those of every later GPU, too: they can be asked for, to be tried out there.
#if defined(METAVOICE_TURING) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
#define METAVOICE_TURING_CODE 1
#else
#define METAVOICE_TURING_CODE 0
#endif

namespace metavoice::decode {

// Eight neighbours as they lie in memory, at a multiple of 16 bytes.
template <class T>
struct Eight {
  uint4 words[sizeof(T) / 2];
};

__device__ __forceinline__ uint4 load_words(const void* from) { return *static_cast<const uint4*>(from); }

// What is read once passes by the L1 cache. The compiler leaves these where they stand: before what must not hold them up.
__device__ __forceinline__ uint4 stream_words(const void* from) {
#ifdef __CUDA_ARCH__
  uint4 result;
  asm volatile("ld.global.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(result.x), "=r"(result.y), "=r"(result.z), "=r"(result.w)
               : "l"(from));
  return result;
#else
  return load_words(from);
#endif
}

template <class T>
__device__ __forceinline__ Eight<T> load(const T* from) {
  Eight<T> result;
  for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) result.words[i] = load_words(from + i * (16 / sizeof(T)));
  return result;
}

template <class T>
__device__ __forceinline__ void keep(T* to, const Eight<T>& numbers) {
  for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) reinterpret_cast<uint4*>(to)[i] = numbers.words[i];
}

template <class T>
__device__ __forceinline__ Eight<T> stream(const T* from) {
  Eight<T> result;
  for (int i = 0; i < static_cast<int>(sizeof(T) / 2); ++i) result.words[i] = stream_words(from + i * (16 / sizeof(T)));
  return result;
}

template <class T>
__device__ __forceinline__ Eight<T> zeros() {
  Eight<T> result;
  for (uint4& word : result.words) word = make_uint4(0, 0, 0, 0);
  return result;
}

// Eight neighbours of a byte each.
struct EightBytes {
  uint2 words;
};

__device__ __forceinline__ EightBytes stream(const int8_t* from) {
  EightBytes result;
#ifdef __CUDA_ARCH__
  asm volatile("ld.global.L1::no_allocate.L2::128B.v2.u32 {%0, %1}, [%2];" : "=r"(result.words.x), "=r"(result.words.y) : "l"(from));
#else
  result.words = *reinterpret_cast<const uint2*>(from);
#endif
  return result;
}

__device__ __forceinline__ float float_of(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float result;
  memcpy(&result, &bits, sizeof(result));
  return result;
#endif
}

__device__ __forceinline__ uint32_t bits_of(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  uint32_t result;
  memcpy(&result, &value, sizeof(result));
  return result;
#endif
}

template <class T>
struct Pair;

template <>
struct Pair<__half> {
  static __device__ __forceinline__ void widen(uint32_t word, float& first, float& second) {
    __half2_raw raw;
    raw.x = static_cast<unsigned short>(word);
    raw.y = static_cast<unsigned short>(word >> 16);
    const float2 both = __half22float2(__half2(raw));
    first = both.x;
    second = both.y;
  }
  static __device__ __forceinline__ uint32_t narrow(float first, float second) {
    const __half2_raw raw = __floats2half2_rn(first, second);
    return static_cast<uint32_t>(raw.x) | static_cast<uint32_t>(raw.y) << 16;
  }
};

template <>
struct Pair<__nv_bfloat16> {
  static __device__ __forceinline__ void widen(uint32_t word, float& first, float& second) {
    first = float_of(word << 16);
    second = float_of(word & 0xffff0000u);
  }
  static __device__ __forceinline__ uint32_t narrow(float first, float second) {
    const __nv_bfloat162_raw raw = __floats2bfloat162_rn(first, second);
    return static_cast<uint32_t>(raw.x) | static_cast<uint32_t>(raw.y) << 16;
  }
};

template <class T>
__device__ __forceinline__ void widen(const Eight<T>& from, float (&to)[8]) {
  const uint4& word = from.words[0];
  Pair<T>::widen(word.x, to[0], to[1]);
  Pair<T>::widen(word.y, to[2], to[3]);
  Pair<T>::widen(word.z, to[4], to[5]);
  Pair<T>::widen(word.w, to[6], to[7]);
}

__device__ __forceinline__ void widen(const Eight<float>& from, float (&to)[8]) {
  for (int i = 0; i < 2; ++i) {
    to[4 * i] = float_of(from.words[i].x);
    to[4 * i + 1] = float_of(from.words[i].y);
    to[4 * i + 2] = float_of(from.words[i].z);
    to[4 * i + 3] = float_of(from.words[i].w);
  }
}

__device__ __forceinline__ void widen(const EightBytes& from, float (&to)[8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t word = i < 4 ? from.words.x : from.words.y;
#ifdef __CUDA_ARCH__
    // 2^23 + (q + 128), less as much: the conversions of a GPU are slow.
    to[i] = float_of(__byte_perm(word ^ 0x80808080u, 0x4b000000u, 0x7540 + i % 4)) - 8388736.0F;
#else
    to[i] = static_cast<float>(static_cast<int8_t>(word >> 8 * (i % 4)));
#endif
  }
}

template <class T>
__device__ __forceinline__ void narrow(const float (&from)[8], Eight<T>& to) {
  to.words[0] = make_uint4(Pair<T>::narrow(from[0], from[1]), Pair<T>::narrow(from[2], from[3]), Pair<T>::narrow(from[4], from[5]),
                           Pair<T>::narrow(from[6], from[7]));
}

__device__ __forceinline__ void narrow(const float (&from)[8], Eight<float>& to) {
  for (int i = 0; i < 2; ++i)
    to.words[i] = make_uint4(bits_of(from[4 * i]), bits_of(from[4 * i + 1]), bits_of(from[4 * i + 2]), bits_of(from[4 * i + 3]));
}

__device__ __forceinline__ float wide(float value) { return value; }
__device__ __forceinline__ float wide(__half value) { return __half2float(value); }
__device__ __forceinline__ float wide(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ __forceinline__ void store(float* to, float value) { *to = value; }
__device__ __forceinline__ void store(__half* to, float value) { *to = __float2half_rn(value); }
__device__ __forceinline__ void store(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }

}  // namespace metavoice::decode
