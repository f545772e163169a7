// A page of keys and values of one head, attended to by one warp: as numbers of the dtype, or as steps of int8 with scales
// (ops/paged_attention.h).
#pragma once

#include <cfloat>
#include <limits>
#include <type_traits>

#include "ops/decode_numbers.cuh"

namespace metavoice::decode {

constexpr int kPage = 32;
constexpr unsigned kAll = 0xffffffffu;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// How keys and values lie in their pages: as numbers of the dtype, or as steps with scales.
template <class T>
struct WholePages {
  using Number = T;
  using Eight = decode::Eight<T>;
  static constexpr bool kSteps = false;
  static constexpr int kScales = 0;
  static __device__ __forceinline__ Eight nothing() { return zeros<T>(); }
};

struct BytePages {
  using Number = int8_t;
  using Eight = EightBytes;
  static constexpr bool kSteps = true;
  static constexpr int kScales = kPage * static_cast<int>(sizeof(float));  // behind the numbers of a head
  static __device__ __forceinline__ Eight nothing() { return {}; }
};

// Scores of eight positions, summed over every eighth number of the head by each group of lanes -> the one score that is
// this lane's own, of position `own_position()`.
__device__ __forceinline__ float exchange(const float (&sums)[8]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float four[4], two[2];
  const bool high = (lane & 16) != 0, middle = (lane & 8) != 0, low = (lane & 4) != 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float other = __shfl_xor_sync(kAll, high ? sums[i] : sums[i + 4], 16);
    four[i] = (high ? sums[i + 4] : sums[i]) + other;
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const float other = __shfl_xor_sync(kAll, middle ? four[i] : four[i + 2], 8);
    two[i] = (middle ? four[i + 2] : four[i]) + other;
  }
  const float other = __shfl_xor_sync(kAll, low ? two[0] : two[1], 4);
  return (low ? two[1] : two[0]) + other;
}

__device__ __forceinline__ int own_position(int lane) { return 8 * (lane & 3) + ((lane >> 4) & 1) * 4 + ((lane >> 3) & 1) * 2 + ((lane >> 2) & 1); }
__device__ __forceinline__ int lane_of(int position) {
  return (position >> 3) + ((position >> 2) & 1) * 16 + ((position >> 1) & 1) * 8 + (position & 1) * 4;
}

__device__ __forceinline__ float largest_of(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value = fmaxf(value, __shfl_xor_sync(kAll, value, distance));
  return value;
}

__device__ __forceinline__ float sum_of(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(kAll, value, distance);
  return value;
}

// A new key or value of one head as steps, number by number `apart`, as ops::quantize_vectors makes them; its scale goes to
// `scale`. All lanes of a warp together.
template <int kWidth, class T>
__device__ __forceinline__ void put_steps(const T* fresh, int8_t* to, int apart, float* scale) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float numbers[kWidth / 32], greatest = 0;
#pragma unroll
  for (int i = 0; i < kWidth / 32; ++i) {
    numbers[i] = wide(fresh[32 * i + lane]);
    // A number that is none counts as infinite: the scale then is, and stays visible.
    const float size = fabsf(numbers[i]);
    greatest = fmaxf(greatest, size <= FLT_MAX ? size : INFINITY);
  }
  greatest = __fdiv_rn(largest_of(greatest), 127.0F);
#pragma unroll
  for (int i = 0; i < kWidth / 32; ++i) {
    const float steps = rintf(__fdiv_rn(numbers[i], greatest));
    // 0 / 0, and what is divided by infinity or is none, is 0.
    const float bounded = fminf(fmaxf(steps, -127.0F), 127.0F);
    to[(32 * i + lane) * apart] = steps == steps ? static_cast<int8_t>(bounded) : int8_t{0};
  }
  if (lane == 0) *scale = greatest;
}

// One page by one warp: of its first `count` positions, the largest score, the total of the exponentials and the sum of
// the values, of which lane l has eight numbers from 8 (l mod (kWidth / 8)).
template <class T, class Pages, int kWidth>
struct Page {
  using Number = typename Pages::Number;
  static constexpr int kNumbers = kWidth * kPage + Pages::kScales;  // of one head's keys, or values
  static constexpr int kParts = kWidth / 8;         // lanes for the values of one position
  static constexpr int kPositions = 32 / kParts;  // positions at once
  float largest = kMinusInfinity;
  float total = 0;
  float values[8] = {};

  typename Pages::Eight key[kWidth / 8], value[kParts];
  float key_scale = 1, value_scale = 1;  // of this lane's own position

  // What lies behind the last position may be anything, not numbers even.
  __device__ __forceinline__ void fetch(const Number* keys, const Number* all_values, int count) {
    const int lane = static_cast<int>(threadIdx.x) % 32, part = lane % kParts, turn = lane / kParts;
#pragma unroll
    for (int i = 0; i < kWidth / 8; ++i) key[i] = stream(keys + (8 * i + lane / 4) * kPage + 8 * (lane % 4));
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const int position = i * kPositions + turn;
      value[i] = position < count ? stream(all_values + position * kWidth + 8 * part) : Pages::nothing();
    }
    if constexpr (Pages::kSteps) {
      const int own = own_position(lane);
      if (own < count) {
        key_scale = __ldcg(scales_of(keys) + own);
        value_scale = __ldcg(scales_of(all_values) + own);
      }
    }
  }

  template <class Bytes>
  static __device__ __forceinline__ auto* scales_of(Bytes* numbers) {
    using Scale = std::conditional_t<std::is_const_v<Bytes>, const float, float>;
    return reinterpret_cast<Scale*>(numbers + kWidth * kPage);
  }

  // The new position, on its way to its page.
  static __device__ __forceinline__ void put(const T* key, const T* value, Number* keys, Number* all_values, int place) {
    put_steps<kWidth>(key, keys + place, kPage, scales_of(keys) + place);
    put_steps<kWidth>(value, all_values + place * kWidth, 1, scales_of(all_values) + place);
    __syncwarp();
  }

  __device__ __forceinline__ void attend(const T* query, int count) {
    const int lane = static_cast<int>(threadIdx.x) % 32, turn = lane / kParts;
    float sums[8] = {};
#pragma unroll
    for (int i = 0; i < kWidth / 8; ++i) {
      const float q = wide(query[8 * i + lane / 4]);
      float k[8];
      widen(key[i], k);
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[j] = __fmaf_rn(q, k[j], sums[j]);
    }
    const bool there = own_position(lane) < count;
    const float exchanged = exchange(sums) * rsqrtf(static_cast<float>(kWidth));
    const float score = !there ? kMinusInfinity : Pages::kSteps ? exchanged * key_scale : exchanged;
    largest = largest_of(score);
    const float weight = there ? expf(score - largest) : 0;
    total = sum_of(weight);
    const float weighed = Pages::kSteps && there ? weight * value_scale : weight;
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const float w = __shfl_sync(kAll, weighed, lane_of(i * kPositions + turn));
      float v[8];
      widen(value[i], v);
#pragma unroll
      for (int j = 0; j < 8; ++j) values[j] = __fmaf_rn(w, v[j], values[j]);
    }
#pragma unroll
    for (int distance = kParts; distance < 32; distance *= 2)
#pragma unroll
      for (int j = 0; j < 8; ++j) values[j] += __shfl_xor_sync(kAll, values[j], distance);
  }
};

}  // namespace metavoice::decode
