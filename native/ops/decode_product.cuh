// The matrix product of the decode kernels, made for few rows: a block takes 16 columns of the result (rows of the
// matrix), each of its warps a part of their length, and each number of the matrix is read once for all rows. The order of
// every sum depends on the length and the number of warps alone, and so do the bits.
#pragma once

#include <type_traits>

#include "ops/decode_step.h"
#include "ops/decode_tensor.cuh"

namespace metavoice::decode {

// kAhead steps of the matrix are always on their way; a step is four times what a lane takes.
template <class Weights, int kWarps, int kTiles, int kAhead>
class Product {
 public:
  using T = typename Weights::Number;
  using Shared = float[kWarps][kTiles * kTileRows][kColumns];
  static constexpr int kStep = 4 * Weights::kNumbers;

  // Asks for the first numbers of two rows of matrices [.., in], which are rows g and g + 8 of this lane's.
  __device__ __forceinline__ void begin(const MetavoiceMatrix& upper, int64_t upper_row, const MetavoiceMatrix& lower, int64_t lower_row, int in) {
    const int steps = in / kStep;
    first_ = warp() * steps / kWarps;
    last_ = (warp() + 1) * steps / kWarps;
    const int64_t row_bytes = int64_t{steps} * kStepBytes;
    const int part = lane() % 4 * (kStepBytes / 4);
    upper_at_ = static_cast<const uint8_t*>(upper.numbers) + upper_row * row_bytes + part;
    lower_at_ = static_cast<const uint8_t*>(lower.numbers) + lower_row * row_bytes + part;
    if constexpr (Weights::kGroups) {
      upper_scales_ = static_cast<const uint32_t*>(upper.scales) + upper_row * steps;
      lower_scales_ = static_cast<const uint32_t*>(lower.scales) + lower_row * steps;
    }
    if constexpr (Weights::kScaled) {
      scale_[0] = static_cast<const float*>(upper.scales)[upper_row];
      scale_[1] = static_cast<const float*>(lower.scales)[lower_row];
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i)
      if (first_ + i < last_) fetch(i, first_ + i);
  }

  // The part of the length that is this warp's.
  __device__ __forceinline__ int first() const { return first_ * kStep; }
  __device__ __forceinline__ int last() const { return last_ * kStep; }

  // x(row, k): eight numbers from k of one of the block's rows. The sums of all warps go to `sums`.
  template <class X>
  __device__ __forceinline__ void run(const X& x, int rows, Shared& sums) {
    Sums<Weights, kTiles> own;
    if constexpr (sizeof(T) == 4) {
      run_wide(x, rows, own);
    } else if constexpr (kTiles == 1 && !X::kNear) {
      run_far(x, rows, own);
    } else {
      for (int step = first_; step < last_; step += kAhead) {
#pragma unroll
        for (int i = 0; i < kAhead; ++i) {
          if (step + i >= last_) continue;
          Other other[kTiles];
#pragma unroll
          for (int n = 0; n < kTiles; ++n) find(x, rows, step + i, n, other[n]);
          own.add(upper_[i], lower_[i], scales_[i], [&](int part, int n) { return other[n].of[part].words[0]; });
          if (step + i + kAhead < last_) fetch(i, step + i + kAhead);
        }
      }
    }
    const int group = lane() / 4, part = lane() % 4;
#pragma unroll
    for (int n = 0; n < kTiles; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float sum = Weights::kScaled ? __fmul_rn(own.of[n][i], scale_[i / 2]) : own.of[n][i];
        sums[warp()][n * kTileRows + 2 * part + i % 2][group + i / 2 * 8] = sum;
      }
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
  static constexpr int kParts = Weights::kNumbers / 8;
  static constexpr int kStepBytes = kStep * Weights::kBits / 8;

  // What goes with a lane's part of a step of the matrix.
  struct Other {
    Eight<T> of[kParts];
  };

  __device__ __forceinline__ void fetch(int slot, int step) {
    upper_[slot] = Weights::read(upper_at_ + static_cast<int64_t>(step) * kStepBytes);
    lower_[slot] = Weights::read(lower_at_ + static_cast<int64_t>(step) * kStepBytes);
    if constexpr (Weights::kGroups) {
      scales_[slot][0] = upper_scales_[step];
      scales_[slot][1] = lower_scales_[step];
    }
  }

  template <class X>
  __device__ __forceinline__ void find(const X& x, int rows, int step, int n, Other& other) const {
    const int row = n * kTileRows + lane() / 4;
#pragma unroll
    for (int part = 0; part < kParts; ++part)
      other.of[part] = step < last_ && row < rows ? x(row, step * kStep + part * 32 + lane() % 4 * 8) : zeros<T>();
  }

  // Rows that are far away are asked for as early as the matrix.
  template <class X>
  __device__ __forceinline__ void run_far(const X& x, int rows, Sums<Weights, 1>& own) {
    Other ahead[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) find(x, rows, first_ + i, 0, ahead[i]);
    for (int step = first_; step < last_; step += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (step + i >= last_) continue;
        own.add(upper_[i], lower_[i], scales_[i], [&](int part, int) { return ahead[i].of[part].words[0]; });
        if (step + i + kAhead >= last_) continue;
        fetch(i, step + i + kAhead);
        find(x, rows, step + i + kAhead, 0, ahead[i]);
      }
    }
  }

  template <class X>
  __device__ __forceinline__ void run_wide(const X& x, int rows, Sums<Weights, 1>& own) {
    for (int step = first_; step < last_; step += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (step + i >= last_) continue;
#pragma unroll
        for (int row = 0; row < kTileRows; ++row)
          if (row < rows) own.add(upper_[i], lower_[i], x(row, (step + i) * kStep + lane() % 4 * 8), row);
        if (step + i + kAhead < last_) fetch(i, step + i + kAhead);
      }
    }
    own.finish();
  }

  typename Weights::Raw upper_[kAhead], lower_[kAhead];
  uint32_t scales_[kAhead][2];
  float scale_[2];
  const uint8_t* upper_at_;
  const uint8_t* lower_at_;
  const uint32_t* upper_scales_;
  const uint32_t* lower_scales_;
  int first_, last_;
};

// How many steps are on their way at once: 8 KB of the matrix a warp, or all that it has.
template <class Weights>
constexpr int kSteps = sizeof(typename Weights::Number) == 4 || Weights::kBits < 16 ? 4 : 8;

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
