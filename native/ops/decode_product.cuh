// The matrix product of the decode kernels, made for few rows: a block takes 16 columns of the result (rows of the
// matrix), each of its warps a part of their length, and each number of the matrix is read once for all rows. The order of
// every sum depends on the length and the number of warps alone, and so do the bits.
#pragma once

#include <type_traits>

#include "ops/decode_ring.cuh"
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

  // Bytes of shared memory for what is on its way, where that is kept there.
  static constexpr int kRingBytes = kWarps * Ring<Weights, kAhead>::kBytes;

  // Asks for the first numbers of two rows of matrices [.., in], which are rows g and g + 8 of this lane's.
  __device__ __forceinline__ void begin(const MetavoiceMatrix& upper, int64_t upper_row, const MetavoiceMatrix& lower, int64_t lower_row, int in,
                                        uint8_t* shared) {
    const int steps = in / kStep;
    first_ = warp() * steps / kWarps;
    last_ = (warp() + 1) * steps / kWarps;
    const int64_t row_bytes = int64_t{steps} * kStepBytes;
    const int part = lane() % 4 * (kStepBytes / 4);
    source_.upper = static_cast<const uint8_t*>(upper.numbers) + upper_row * row_bytes + part;
    source_.lower = static_cast<const uint8_t*>(lower.numbers) + lower_row * row_bytes + part;
    if constexpr (Weights::kGroups) {
      source_.upper_scale = static_cast<const uint32_t*>(upper.scales) + upper_row * steps;
      source_.lower_scale = static_cast<const uint32_t*>(lower.scales) + lower_row * steps;
    }
    if constexpr (Weights::kScaled) {
      scale_[0] = static_cast<const float*>(upper.scales)[upper_row];
      scale_[1] = static_cast<const float*>(lower.scales)[lower_row];
    }
    ring_.open(shared + warp() * Ring<Weights, kAhead>::kBytes);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) ask(i, first_ + i);
  }

  // x(row, k): eight numbers from k of one of the block's rows. The sums of all warps go to `sums`.
  template <class X>
  __device__ __forceinline__ void run(const X& x, int rows, Shared& sums) {
    Sums<Weights, kTiles> own;
    if constexpr (sizeof(T) == 4) {
      run_wide(x, rows, own);
    } else if constexpr (kTiles == 1 && !X::kNear) {
      run_far(x, rows, own);
    } else {
      each_step([&](int, int step, const Taken<Weights>& taken) {
        Other other[kTiles];
#pragma unroll
        for (int n = 0; n < kTiles; ++n) find(x, rows, step, n, other[n]);
        own.add(taken.upper, taken.lower, taken.scales, [&](int part, int n) { return other[n].of[part].words[0]; });
      });
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

  __device__ __forceinline__ void ask(int slot, int step) {
    if (step < last_) {
      const int64_t at = static_cast<int64_t>(step) * kStepBytes;
      ring_.ask(slot, {source_.upper + at, source_.lower + at, source_.upper_scale + step, source_.lower_scale + step});
    }
    ring_.end_of_step();
  }

  // visit(slot, step, numbers) for each step of the warp, in order.
  template <class Visit>
  __device__ __forceinline__ void each_step(const Visit& visit) {
    for (int step = first_; step < last_; step += kAhead) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (step + i >= last_) continue;
        visit(i, step + i, ring_.take(i));
        ask(i, step + i + kAhead);
      }
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
    each_step([&](int slot, int step, const Taken<Weights>& taken) {
      own.add(taken.upper, taken.lower, taken.scales, [&](int part, int) { return ahead[slot].of[part].words[0]; });
      find(x, rows, step + kAhead, 0, ahead[slot]);
    });
  }

  template <class X>
  __device__ __forceinline__ void run_wide(const X& x, int rows, Sums<Weights, 1>& own) {
    each_step([&](int, int step, const Taken<Weights>& taken) {
#pragma unroll
      for (int row = 0; row < kTileRows; ++row)
        if (row < rows) own.add(taken.upper, taken.lower, x(row, step * kStep + lane() % 4 * 8), row);
    });
    own.finish();
  }

  Ring<Weights, kAhead> ring_;
  Source source_;
  float scale_[2];
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

// Rows in shared memory. A row is there a little longer, so that neighbours lie in other banks.
template <class T>
struct Near {
  static constexpr bool kNear = true;
  static constexpr int kPadding = 32;
  const T* x;
  int stride;

  __device__ __forceinline__ Eight<T> operator()(int row, int k) const { return load(x + row * stride + k); }
};

// How a product's rows are shared out to blocks; the bits are the same.
struct Tiling {
  int rows;         // of a block
  unsigned blocks;  // for all rows
};

// run(tiles, tiling)
template <class T, class Run>
int with_tiles(int rows, Run run) {
  const auto tiling = [rows](int some) { return Tiling{some, static_cast<unsigned>((rows + some - 1) / some)}; };
  if constexpr (sizeof(T) == 2) {
    if (rows > kTileRows) return run(std::integral_constant<int, 4>{}, tiling(4 * kTileRows));
    return run(std::integral_constant<int, 1>{}, tiling(kTileRows));
  } else {
    return run(std::integral_constant<int, 1>{}, tiling(kTileRows / 2));
  }
}

}  // namespace metavoice::decode
