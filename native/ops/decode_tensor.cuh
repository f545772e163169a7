// Sums of products on the tensor cores, a warp together: 16 columns of the result (rows of a matrix) by 8 rows of the other
// factor at a time. Lane 4g + t has numbers of rows g and g + 8 of the matrix, and of row g of the other factor, as the tensor
// cores take them (m16n8k16), but for the order along the row, which both factors share.
#pragma once

#include "ops/decode_weights.cuh"

namespace metavoice::decode {

constexpr int kColumns = 16;
constexpr int kTileRows = 8;

__device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x) / 32; }

#if defined(__CUDA_ARCH__)
template <class T>
__device__ __forceinline__ void multiply(float (&sums)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1);

template <>
__device__ __forceinline__ void multiply<__half>(float (&sums)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
#if METAVOICE_TURING_CODE
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a0), "r"(a1), "r"(b0));
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a2), "r"(a3), "r"(b1));
#else
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}

template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&sums)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                                                        uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#endif
}
#else
template <class T>
__device__ void multiply(float (&sums)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
#ifdef METAVOICE_EMULATED
  emulated::multiply<Pair<T>>(sums, {a0, a1, a2, a3}, {b0, b1});
#endif
}
#endif

template <class T>
__device__ __forceinline__ void multiply(float (&sums)[4], const Fragment& upper, const Fragment& lower, const Fragment& x) {
  multiply<T>(sums, upper.x, lower.x, upper.y, lower.y, x.x, x.y);
  multiply<T>(sums, upper.z, lower.z, upper.w, lower.w, x.z, x.w);
}

// Two ones.
template <class T>
constexpr uint32_t kOnes = std::is_same_v<T, __half> ? 0x3c003c00u : 0x3f803f80u;

// The sums of one warp, kTiles · 8 rows by 16 columns: of tile n, lane 4g + t has rows 2t and 2t + 1 of column g, then of
// column g + 8.
template <class Weights, int kTiles>
struct Sums {
  using T = typename Weights::Number;
  using Raw = typename Weights::Raw;
  static constexpr int kParts = Weights::kNumbers / 8;
  float of[kTiles][4] = {};

  // x(part, n): this lane's eight numbers of row g of tile n that go with a part of the matrix's. `scales`: of groups, for
  // both rows.
  template <class X>
  __device__ __forceinline__ void add(const Raw& upper, const Raw& lower, const uint32_t (&scales)[2], const X& x) {
    if constexpr (Weights::kGroups) {
      float sums[kTiles][4] = {}, others[kTiles][4] = {};
      const Fragment ones = make_uint4(kOnes<T>, kOnes<T>, kOnes<T>, kOnes<T>);
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const Fragment u = Weights::numbers(upper, part), l = Weights::numbers(lower, part);
#pragma unroll
        for (int n = 0; n < kTiles; ++n) {
          multiply<T>(sums[n], u, l, x(part, n));
          multiply<T>(others[n], ones, ones, x(part, n));
        }
      }
#pragma unroll
      for (int side = 0; side < 2; ++side) {
        float scale, zero;
        Pair<T>::widen(scales[side], scale, zero);
#pragma unroll
        for (int n = 0; n < kTiles; ++n)
#pragma unroll
          for (int i = 2 * side; i < 2 * side + 2; ++i) of[n][i] = __fmaf_rn(scale, sums[n][i], __fmaf_rn(zero, others[n][i], of[n][i]));
      }
    } else {
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const Fragment u = Weights::numbers(upper, part), l = Weights::numbers(lower, part);
#pragma unroll
        for (int n = 0; n < kTiles; ++n) multiply<T>(of[n], u, l, x(part, n));
      }
    }
  }
};

// What a product in 16 bit does, on all rows' own numbers.
template <>
struct Sums<Whole<float>, 1> {
  float of[1][4];
  float own[2][kTileRows] = {};

  // `row` is known to the compiler.
  __device__ __forceinline__ void add(const Eight<float>& upper, const Eight<float>& lower, const Eight<float>& x, int row) {
    float u[8], l[8], y[8];
    widen(upper, u);
    widen(lower, l);
    widen(x, y);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      own[0][row] = __fmaf_rn(u[i], y[i], own[0][row]);
      own[1][row] = __fmaf_rn(l[i], y[i], own[1][row]);
    }
  }

  // Over the four lanes of a row, each of which keeps what is its own.
  __device__ __forceinline__ void finish() {
    const int part = lane() % 4;
#pragma unroll
    for (int side = 0; side < 2; ++side)
#pragma unroll
      for (int r = 0; r < kTileRows; ++r) {
        float sum = own[side][r];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        if (r / 2 == part) of[0][2 * side + r % 2] = sum;
      }
  }
};

}  // namespace metavoice::decode
