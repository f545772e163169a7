// The matrix product of the decode kernels, made for few rows: a block takes 16 columns of the result (rows of the
// matrix), each of its warps a part of their length, and each number of the matrix is read once for all rows.
//
// A warp goes 32 numbers at a time. Lane 4g + t loads eight numbers from 8t of rows g and g + 8 of the matrix, and of row g of
// the other factor: as the tensor cores take them (m16n8k16), but for the order along the row, which both factors share.
// The order of every sum depends on the length and the number of warps alone, and so do the bits.
#pragma once

#include <type_traits>

#include "ops/decode_numbers.cuh"

namespace metavoice::decode {

constexpr int kStep = 32;
constexpr int kColumns = 16;
constexpr int kTileRows = 8;

__device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x) / 32; }

#if defined(__CUDA_ARCH__)
template <class T>
__device__ __forceinline__ void multiply(float (&sums)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1);

template <>
__device__ __forceinline__ void multiply<__half>(float (&sums)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1) {
#if METAVOICE_HALF_STEPS
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

// The sums of one warp, kTiles · 8 rows by 16 columns: of tile n, lane 4g + t has rows 2t and 2t + 1 of column g, then of
// column g + 8.
template <class T, int kTiles>
struct Sums {
  float of[kTiles][4] = {};

  // x(n) is this lane's part of row g of tile n.
  template <class X>
  __device__ __forceinline__ void add(const Eight<T>& upper, const Eight<T>& lower, const X& x) {
    const uint4 &u = upper.words[0], &l = lower.words[0];
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
      const uint4 y = x(n);
      multiply<T>(of[n], u.x, l.x, u.y, l.y, y.x, y.y);
      multiply<T>(of[n], u.z, l.z, u.w, l.w, y.z, y.w);
    }
  }
};

// What a product in 16 bit does, on all rows' own numbers.
template <>
struct Sums<float, 1> {
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

// kAhead steps of the matrix are always on their way.
template <class T, int kWarps, int kTiles, int kAhead>
class Product {
 public:
  using Shared = float[kWarps][kTiles * kTileRows][kColumns];

  // Asks for the first numbers. Rows g and g + 8 of the matrix [.., in] for this lane.
  __device__ __forceinline__ void begin(const T* upper, const T* lower, int in) {
    const int steps = in / kStep;
    first_ = warp() * steps / kWarps;
    last_ = (warp() + 1) * steps / kWarps;
    upper_at_ = upper + lane() % 4 * 8;
    lower_at_ = lower + lane() % 4 * 8;
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (first_ + i < last_) fetch(i, first_ + i);
  }

  __device__ __forceinline__ int first() const { return first_ * kStep; }
  __device__ __forceinline__ int last() const { return last_ * kStep; }

  // x(row, k): eight numbers from k of one of the block's rows. The sums of all warps go to `sums`.
  template <class X>
  __device__ __forceinline__ void run(const X& x, int rows, Shared& sums) {
    Sums<T, kTiles> own;
    Eight<T> ahead[kAhead];
    if constexpr (sizeof(T) == 2 && kTiles == 1 && !X::kNear) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) ahead[i] = other(x, rows, first_ + i, 0);
    }
    for (int step = first_; step < last_; step += kAhead) several(x, rows, step, own, ahead);
    if constexpr (sizeof(T) == 4) own.finish();
    const int group = lane() / 4, part = lane() % 4;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[warp()][n * kTileRows + 2 * part + i % 2][group + i / 2 * 8] = own.of[n][i];
    __syncthreads();
  }

  // The sum of all warps.
  static __device__ __forceinline__ float total(const Shared& sums, int row, int column) {
    float result = sums[0][row][column];
#pragma unroll
    for (int i = 1; i < kWarps; ++i) result += sums[i][row][column];
    return result;
  }

 private:
  // Steps whose other factor is asked for at once, where that is not always on its way, too.
  static constexpr int kTogether = 2;
  static_assert(kAhead % kTogether == 0, "whole groups of steps");

  __device__ __forceinline__ void fetch(int slot, int step) {
    upper_[slot] = stream(upper_at_ + step * kStep);
    lower_[slot] = stream(lower_at_ + step * kStep);
  }

  template <class X>
  __device__ __forceinline__ Eight<T> other(const X& x, int rows, int step, int n) const {
    const int row = n * kTileRows + lane() / 4;
    return step < last_ && row < rows ? x(row, step * kStep + lane() % 4 * 8) : zeros<T>();
  }

  // kAhead steps from `step`.
  template <class X>
  __device__ __forceinline__ void several(const X& x, int rows, int step, Sums<T, kTiles>& own, Eight<T> (&ahead)[kAhead]) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (step + i >= last_) continue;
#pragma unroll
        for (int row = 0; row < kTileRows; ++row)
          if (row < rows) own.add(upper_[i], lower_[i], x(row, (step + i) * kStep + lane() % 4 * 8), row);
        if (step + i + kAhead < last_) fetch(i, step + i + kAhead);
      }
    } else if constexpr (kTiles == 1) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (step + i >= last_) continue;
        const Eight<T> now = X::kNear ? other(x, rows, step + i, 0) : ahead[i];
        own.add(upper_[i], lower_[i], [&](int) { return now.words[0]; });
        if (step + i + kAhead >= last_) continue;
        fetch(i, step + i + kAhead);
        if constexpr (!X::kNear) ahead[i] = other(x, rows, step + i + kAhead, 0);
      }
    } else {
#pragma unroll
      for (int some = 0; some < kAhead; some += kTogether) {
        Eight<T> now[kTogether][kTiles];
#pragma unroll
        for (int i = 0; i < kTogether; ++i)
#pragma unroll
          for (int n = 0; n < kTiles; ++n) now[i][n] = other(x, rows, step + some + i, n);
#pragma unroll
        for (int i = 0; i < kTogether; ++i) {
          if (step + some + i >= last_) continue;
          own.add(upper_[some + i], lower_[some + i], [&](int n) { return now[i][n].words[0]; });
          if (step + some + i + kAhead < last_) fetch(some + i, step + some + i + kAhead);
        }
      }
    }
  }

  Eight<T> upper_[kAhead], lower_[kAhead];
  const T* upper_at_;
  const T* lower_at_;
  int first_, last_;
};

// Rows as they are, [rows, in].
template <class T>
struct Plain {
  static constexpr bool kNear = false;
  const T* x;
  int in;

  __device__ __forceinline__ Eight<T> operator()(int row, int k) const { return load(x + static_cast<int64_t>(row) * in + k); }
};

// run(tiles, blocks): how many tiles of rows a block takes best, and how many blocks that makes. The bits are the same.
template <class T, class Run>
int with_tiles(int rows, Run run) {
  const auto blocks = [rows](int tiles) { return static_cast<unsigned>((rows + tiles * kTileRows - 1) / (tiles * kTileRows)); };
  if constexpr (sizeof(T) == 2) {
    if (rows > kTileRows) return run(std::integral_constant<int, 4>{}, blocks(4));
  }
  return run(std::integral_constant<int, 1>{}, blocks(1));
}

}  // namespace metavoice::decode
