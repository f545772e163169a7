// Attention of one new position per row to all that its pages hold ("Flash-Decoding for long-context inference", Dao et
// al. 2023): a block takes 128 positions of one head, a page each of its warps, and the block that ends last puts the
// pieces together, always in their order. The sums depend on the row's own length alone.
#include <limits>

#include "ops/decode_launch.cuh"

namespace metavoice::decode {

namespace {

constexpr int kWarps = 4;
constexpr int kPage = 32;
constexpr int kPiece = kWarps * kPage;
constexpr unsigned kAll = 0xffffffffu;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

template <class T>
struct Parameters {
  const T* queries;
  const T* memory;
  T* attended;
  float* partial;    // [rows, heads, pieces, head width + 2]: sums, largest score, total
  int32_t* tickets;  // [rows, heads]
  const int32_t* positions;
  const int32_t* pages;
  int64_t page_numbers;
  int heads, page_stride, pieces;
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

// One page by one warp: of its first `count` positions, the largest score, the total of the exponentials and the sum of
// the values, of which lane l has eight numbers from 8 (l mod (kWidth / 8)).
template <class T, int kWidth>
struct Page {
  static constexpr int kParts = kWidth / 8;         // lanes for the values of one position
  static constexpr int kPositions = 32 / kParts;  // positions at once
  float largest = kMinusInfinity;
  float total = 0;
  float values[8] = {};

  Eight<T> key[kWidth / 8], value[kParts];

  // What lies behind the last position may be anything, not numbers even.
  __device__ __forceinline__ void fetch(const T* keys, const T* all_values, int count) {
    const int lane = static_cast<int>(threadIdx.x) % 32, part = lane % kParts, turn = lane / kParts;
#pragma unroll
    for (int i = 0; i < kWidth / 8; ++i) key[i] = stream(keys + (8 * i + lane / 4) * kPage + 8 * (lane % 4));
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const int position = i * kPositions + turn;
      value[i] = position < count ? stream(all_values + position * kWidth + 8 * part) : zeros<T>();
    }
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
    const float score = there ? exchanged : kMinusInfinity;
    largest = largest_of(score);
    const float weight = there ? expf(score - largest) : 0;
    total = sum_of(weight);
#pragma unroll
    for (int i = 0; i < kParts; ++i) {
      const float w = __shfl_sync(kAll, weight, lane_of(i * kPositions + turn));
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

template <class T, int kWidth>
__global__ void __launch_bounds__(kWarps * 32) attend(const Parameters<T> p) {
  __shared__ float values[kWarps][kWidth];
  __shared__ float largest[kWarps], totals[kWarps];
  __shared__ bool is_last;
  const int piece = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y), row = static_cast<int>(blockIdx.z);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int position = p.positions[row];
  const int64_t index = static_cast<int64_t>(row) * p.heads + head;
  T* attended = p.attended + index * kWidth;
  const int pieces = position < 0 ? 0 : position / kPiece + 1;
  const int first = piece * kPiece + warp * kPage, count = min(position + 1 - first, kPage);
  Page<T, kWidth> page;
  const T *keys = p.memory, *all_values = keys;
  if (count > 0) {
    keys += p.pages[static_cast<int64_t>(row) * p.page_stride + first / kPage] * p.page_numbers + static_cast<int64_t>(head) * kWidth * kPage;
    all_values = keys + static_cast<int64_t>(p.heads) * kWidth * kPage;
  }
  // Positions, and pages that don't hold the new one, are as earlier steps left them.
  const bool settled = count > 0 && first + kPage <= position;
  if (settled) page.fetch(keys, all_values, count);
  wait_for_others();
  if (position < 0 && piece == 0 && thread < kWidth) store(attended + thread, 0.0F);
  if (piece >= pieces) return;
  if (count > 0) {
    if (!settled) page.fetch(keys, all_values, count);
    page.attend(p.queries + index * kWidth, count);
  }
  const int lane = thread % 32;
  if (lane < Page<T, kWidth>::kParts)
#pragma unroll
    for (int j = 0; j < 8; ++j) values[warp][8 * lane + j] = page.values[j];
  if (lane == 0) {
    largest[warp] = page.largest;
    totals[warp] = page.total;
  }
  __syncthreads();

  float most = largest[0], total = 0, value = 0;
#pragma unroll
  for (int i = 1; i < kWarps; ++i) most = fmaxf(most, largest[i]);
  const int at = thread < kWidth ? thread : 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) {
    // A warp without a page counts for nothing, whatever the others found.
    const float factor = piece * kPiece + i * kPage <= position ? expf(largest[i] - most) : 0;
    total = __fmaf_rn(totals[i], factor, total);
    value = __fmaf_rn(values[i][at], factor, value);
  }
  if (pieces == 1) {
    if (thread < kWidth) store(attended + thread, __fdiv_rn(value, total));
    return;
  }

  constexpr int kNumbers = kWidth + 2;
  float* all = p.partial + index * p.pieces * kNumbers;
  float* own = all + piece * kNumbers;
  if (thread < kWidth) own[thread] = value;
  if (thread == 0) {
    own[kWidth] = most;
    own[kWidth + 1] = total;
  }
  __syncthreads();
  if (thread == 0) {
    // For all of the block, whose writes the barrier has put before this.
    __threadfence();
    is_last = atomicAdd(p.tickets + index, 1) == pieces - 1;
  }
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  if (thread == 0) p.tickets[index] = 0;
  // Some pieces at a time, all of which are asked for before one is used.
  constexpr int kSome = 8;
  most = kMinusInfinity;
  total = 0;
  value = 0;
  for (int from = 0; from < pieces; from += kSome) {
    float scores[kSome], parts[kSome], numbers[kSome];
#pragma unroll
    for (int i = 0; i < kSome; ++i) {
      const float* piece_here = all + min(from + i, pieces - 1) * kNumbers;
      scores[i] = __ldcg(piece_here + kWidth);
      parts[i] = __ldcg(piece_here + kWidth + 1);
      numbers[i] = __ldcg(piece_here + at);
    }
    float higher = most;
#pragma unroll
    for (int i = 0; i < kSome; ++i) higher = fmaxf(higher, scores[i]);
    const float before = from == 0 ? 0 : expf(most - higher);
    total = __fmul_rn(total, before);
    value = __fmul_rn(value, before);
#pragma unroll
    for (int i = 0; i < kSome; ++i) {
      const float factor = from + i < pieces ? expf(scores[i] - higher) : 0;
      total = __fmaf_rn(parts[i], factor, total);
      value = __fmaf_rn(numbers[i], factor, value);
    }
    most = higher;
  }
  if (thread < kWidth) store(attended + thread, __fdiv_rn(value, total));
}

int pieces_of(const MetavoiceDecode& step) { return (step.most_positions + kPiece - 1) / kPiece; }

}  // namespace

}  // namespace metavoice::decode

extern "C" int64_t metavoice_decode_partial_bytes(const MetavoiceDecode* step) {
  const int64_t heads = step->heads, numbers = step->width / heads + 2;
  return int64_t{step->rows} * heads * metavoice::decode::pieces_of(*step) * numbers * static_cast<int64_t>(sizeof(float));
}

extern "C" int metavoice_decode_attend(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layer) {
  using namespace metavoice::decode;
  return with_dtype(step->dtype, [&](auto number) -> int {
    using T = decltype(number);
    const Parameters<T> parameters{static_cast<const T*>(step->queries),
                                   static_cast<const T*>(layer->pages),
                                   static_cast<T*>(step->attended),
                                   step->partial,
                                   step->tickets,
                                   step->positions,
                                   step->pages,
                                   step->page_numbers,
                                   step->heads,
                                   step->page_stride,
                                   pieces_of(*step)};
    const dim3 grid(static_cast<unsigned>(parameters.pieces), static_cast<unsigned>(step->heads), static_cast<unsigned>(step->rows));
    switch (step->width / step->heads) {
      case 32: return launch<attend<T, 32>>(grid, kWarps * 32, 0, *step, parameters);
      case 64: return launch<attend<T, 64>>(grid, kWarps * 32, 0, *step, parameters);
      case 128: return launch<attend<T, 128>>(grid, kWarps * 32, 0, *step, parameters);
      default: return cudaErrorInvalidValue;
    }
  });
}
