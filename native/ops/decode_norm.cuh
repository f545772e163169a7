// RMSNorm (Zhang & Sennrich 2019) before the products of the decode kernels. A block that serves few rows normalises
// them for itself, into shared memory; for more rows, a kernel of its own does so once, with the same bits.
#pragma once

#include "ops/decode_launch.cuh"
#include "ops/decode_product.cuh"

namespace metavoice::decode {

// Of all kernels that normalise, and the numbers of a row that they hold at once.
constexpr int kNormWarps = 4;
constexpr int kNormThreads = kNormWarps * 32;
constexpr int kHeld = 2;
constexpr int kLargestNorm = kNormThreads * kHeld * 8;

// This thread's part of the weight, which no kernel changes.
struct NormWeight {
  float of[kHeld][8];

  __device__ __forceinline__ NormWeight(const float* weight, int width) {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const int at = (i * kNormThreads + static_cast<int>(threadIdx.x)) * 8;
      if (at < width) widen(load(weight + at), of[i]);
    }
  }
};

// Sums of all threads of the block, one for each of two rows; `shared` may be used again after the next barrier.
__device__ __forceinline__ void sum_over_block(float (&sums)[2], float (&shared)[2][kNormWarps]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) sums[r] += __shfl_xor_sync(0xffffffffu, sums[r], distance);
    if (lane() == 0) shared[r][warp()] = sums[r];
  }
  __syncthreads();
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    sums[r] = shared[r][0];
#pragma unroll
    for (int i = 1; i < kNormWarps; ++i) sums[r] += shared[r][i];
  }
}

// residual [rows, width] -> to [rows, stride], all of the block's threads together. At most kLargestNorm wide.
template <class T>
__device__ __forceinline__ void normalise(const float* residual, const NormWeight& weight, int width, int rows, float epsilon, T* to, int stride) {
  __shared__ float shared[2][kNormWarps];
  for (int row = 0; row < rows; row += 2) {
    float x[2][kHeld][8];
    float sums[2] = {};
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const int at = (i * kNormThreads + static_cast<int>(threadIdx.x)) * 8;
        widen(row + r < rows && at < width ? load(residual + static_cast<int64_t>(row + r) * width + at) : zeros<float>(), x[r][i]);
      }
#pragma unroll
    for (int r = 0; r < 2; ++r)
#pragma unroll
      for (int i = 0; i < kHeld; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[r] = __fmaf_rn(x[r][i][j], x[r][i][j], sums[r]);
    sum_over_block(sums, shared);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float scale = rsqrtf(__fadd_rn(__fdiv_rn(sums[r], static_cast<float>(width)), epsilon));
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        const int at = (i * kNormThreads + static_cast<int>(threadIdx.x)) * 8;
        if (row + r >= rows || at >= width) continue;
#pragma unroll
        for (int j = 0; j < 8; ++j) x[r][i][j] = __fmul_rn(__fmul_rn(x[r][i][j], scale), weight.of[i][j]);
        Eight<T> result;
        narrow(x[r][i], result);
        keep(to + static_cast<int64_t>(row + r) * stride + at, result);
      }
    }
    __syncthreads();
  }
}

// The rows that a product is made of.
struct NormInput {
  const float* residual;  // [rows, width]
  const float* weight;    // [width]
  const void* prepared;   // [rows, width], for many rows
  int rows, width;
  float epsilon;
  int rows_of_block;
};

// Waits for the others, and makes the product of the normalised rows with what `product` has begun. `shared`: behind what
// the product needs.
template <int kTiles, class Matrix>
__device__ __forceinline__ void run_normed(Matrix& product, const NormInput& input, int first_row, int rows, uint8_t* shared, typename Matrix::Shared& sums) {
  using T = typename Matrix::T;
  if constexpr (kTiles == 1) {
    T* near = reinterpret_cast<T*>(shared);
    const int stride = input.width + Near<T>::kPadding;
    const NormWeight weight(input.weight, input.width);
    wait_for_others();
    normalise(input.residual + static_cast<int64_t>(first_row) * input.width, weight, input.width, rows, input.epsilon, near, stride);
    product.run(Near<T>{near, stride}, rows, sums);
  } else {
    wait_for_others();
    product.run(Plain<T>{static_cast<const T*>(input.prepared) + static_cast<int64_t>(first_row) * input.width, input.width}, rows, sums);
  }
}

template <class T>
struct PrepareParameters {
  NormInput input;
  T* prepared;
};

template <class T>
__global__ void __launch_bounds__(kNormThreads) prepare(const PrepareParameters<T> p) {
  const NormWeight weight(p.input.weight, p.input.width);
  wait_for_others();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * p.input.width;
  normalise(p.input.residual + at, weight, p.input.width, 1, p.input.epsilon, p.prepared + at, p.input.width);
}

// run(tiles, tiling, bytes of shared memory) as with_tiles, after the rows were prepared where there are many.
template <class T, class Run>
int with_normed(const MetavoiceDecode& step, NormInput& input, void* prepared, Run run) {
  if (step.width > kLargestNorm) return cudaErrorInvalidValue;
  return with_tiles<T>(step.rows, [&](auto tiles, const Tiling& tiling) -> int {
    if constexpr (decltype(tiles)::value == 1) {
      const int rows = step.rows < tiling.rows ? step.rows : tiling.rows;
      return run(tiles, tiling, rows * (step.width + Near<T>::kPadding) * static_cast<int>(sizeof(T)));
    } else {
      input.prepared = prepared;
      const PrepareParameters<T> parameters{input, static_cast<T*>(prepared)};
      const int failure = launch<prepare<T>>(dim3(static_cast<unsigned>(step.rows)), kNormThreads, 0, step, parameters);
      return failure != cudaSuccess ? failure : run(tiles, tiling, 0);
    }
  });
}

}  // namespace metavoice::decode
