// Attention of one new position per row to all that its pages hold ("Flash-Decoding for long-context inference", Dao et
// al. 2023): a block takes 128 positions of one head, a page each of its warps, and the block that ends last puts the
// pieces together, always in their order. The sums depend on the row's own length alone.
#include "ops/decode_launch.cuh"
#include "ops/decode_page.cuh"

namespace metavoice::decode {

namespace {

constexpr int kWarps = 4;
constexpr int kPiece = kWarps * kPage;

template <class T, class Pages>
struct Parameters {
  const T* queries;
  const T* fresh;
  typename Pages::Number* memory;
  T* attended;
  float* partial;    // [rows, heads, pieces, head width + 2]: sums, largest score, total
  int32_t* tickets;  // [rows, heads]
  const int32_t* positions;
  const int32_t* pages;
  int64_t page_numbers;
  int heads, page_stride, pieces;
};

template <class T, class Pages, int kWidth>
__global__ void __launch_bounds__(kWarps * 32) attend(const Parameters<T, Pages> p) {
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
  using PageHere = Page<T, Pages, kWidth>;
  PageHere page;
  typename Pages::Number *keys = p.memory, *all_values = keys;
  if (count > 0) {
    keys += p.pages[static_cast<int64_t>(row) * p.page_stride + first / kPage] * p.page_numbers + static_cast<int64_t>(head) * PageHere::kNumbers;
    all_values = keys + static_cast<int64_t>(p.heads) * PageHere::kNumbers;
  }
  // Positions, and pages that don't hold the new one, are as earlier steps left them.
  const bool settled = count > 0 && first + kPage <= position;
  if (settled) page.fetch(keys, all_values, count);
  wait_for_others();
  if (position < 0 && piece == 0 && thread < kWidth) store(attended + thread, 0.0F);
  if (piece >= pieces) return;
  if (count > 0) {
    if constexpr (Pages::kSteps)
      if (!settled) {
        const T* fresh = p.fresh + (2 * static_cast<int64_t>(row) * p.heads + head) * kWidth;
        PageHere::put(fresh, fresh + static_cast<int64_t>(p.heads) * kWidth, keys, all_values, position - first);
      }
    if (!settled) page.fetch(keys, all_values, count);
    page.attend(p.queries + index * kWidth, count);
  }
  const int lane = thread % 32;
  if (lane < PageHere::kParts)
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

template <class T, class Pages>
int attend_to(const MetavoiceDecode& step, const MetavoiceDecodeLayer& layer) {
  const Parameters<T, Pages> parameters{static_cast<const T*>(step.queries),
                                        static_cast<const T*>(step.fresh),
                                        static_cast<typename Pages::Number*>(layer.pages),
                                        static_cast<T*>(step.attended),
                                        step.partial,
                                        step.tickets,
                                        step.positions,
                                        step.pages,
                                        step.page_numbers,
                                        step.heads,
                                        step.page_stride,
                                        pieces_of(step)};
  const dim3 grid(static_cast<unsigned>(parameters.pieces), static_cast<unsigned>(step.heads), static_cast<unsigned>(step.rows));
  switch (step.width / step.heads) {
    case 32: return launch<attend<T, Pages, 32>>(grid, kWarps * 32, 0, step, parameters);
    case 64: return launch<attend<T, Pages, 64>>(grid, kWarps * 32, 0, step, parameters);
    case 128: return launch<attend<T, Pages, 128>>(grid, kWarps * 32, 0, step, parameters);
    default: return cudaErrorInvalidValue;
  }
}

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
    return step->page_kind == METAVOICE_PAGES_INT8 ? attend_to<T, BytePages>(*step, *layer) : attend_to<T, WholePages<T>>(*step, *layer);
  });
}
