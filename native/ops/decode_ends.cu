// The ends of a step: a token and its place become the residual stream, and that becomes logits.
#include "ops/decode_norm.cuh"

namespace metavoice::decode {

namespace {

constexpr int kEmbedThreads = 256;

template <class T>
struct EmbedParameters {
  const T* tokens;
  const T* places;
  const float* conditioning;
  const int32_t* ids;
  const int32_t* positions;
  float* residual;
  int width;
};

template <class T>
__global__ void __launch_bounds__(kEmbedThreads) embed(const EmbedParameters<T> p) {
  wait_for_others();
  const int row = static_cast<int>(blockIdx.y), at = static_cast<int>(blockIdx.x) * kEmbedThreads + static_cast<int>(threadIdx.x);
  if (at >= p.width) return;
  const int position = p.positions[row];
  const int64_t number = static_cast<int64_t>(row) * p.width + at;
  float sum = 0;
  if (position >= 0) {
    const float token = wide(p.tokens[static_cast<int64_t>(p.ids[row]) * p.width + at]);
    const float place = wide(p.places[static_cast<int64_t>(position) * p.width + at]);
    sum = __fadd_rn(__fadd_rn(token, place), p.conditioning[number]);
  }
  p.residual[number] = sum;
}

template <class T, int kTiles>
using Block = Product<Whole<T>, kNormWarps, kTiles, kSteps<Whole<T>>>;

struct HeadParameters {
  NormInput input;
  MetavoiceMatrix weight;
  float* logits;
  int entries;
};

template <class T, int kTiles>
__global__ void __launch_bounds__(kNormThreads) head(const HeadParameters p) {
  using Matrix = Block<T, kTiles>;
  __shared__ typename Matrix::Shared sums;
  DYNAMIC_SHARED(shared);
  const int first_row = static_cast<int>(blockIdx.y) * p.input.rows_of_block, first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int rows = min(p.input.rows - first_row, p.input.rows_of_block);

  Matrix product;
  // The last block may have fewer columns than others: what it reads instead of them is not stored.
  const int upper = min(first_column + lane() / 4, p.entries - 1), lower = min(first_column + lane() / 4 + 8, p.entries - 1);
  product.begin(p.weight, upper, p.weight, lower, p.input.width, shared);
  run_normed<kTiles>(product, p.input, first_row, rows, shared + Matrix::kRingBytes, sums);

  for (int i = static_cast<int>(threadIdx.x); i < rows * kColumns; i += kNormThreads) {
    const int row = i / kColumns, column = i % kColumns;
    if (first_column + column < p.entries)
      p.logits[static_cast<int64_t>(first_row + row) * p.entries + first_column + column] = Matrix::total(sums, row, column);
  }
}

}  // namespace

}  // namespace metavoice::decode

extern "C" int metavoice_decode_embed(const MetavoiceDecode* step, const MetavoiceDecodeEnds* ends) {
  using namespace metavoice::decode;
  return with_dtype(step->dtype, [&](auto number) {
    using T = decltype(number);
    const EmbedParameters<T> parameters{static_cast<const T*>(ends->tokens), static_cast<const T*>(ends->places), ends->conditioning,
                                        ends->ids, step->positions, step->residual, step->width};
    const dim3 grid(static_cast<unsigned>((step->width + kEmbedThreads - 1) / kEmbedThreads), static_cast<unsigned>(step->rows));
    return launch<embed<T>>(grid, kEmbedThreads, 0, *step, parameters);
  });
}

extern "C" int metavoice_decode_head(const MetavoiceDecode* step, const MetavoiceDecodeEnds* ends) {
  using namespace metavoice::decode;
  return with_dtype(ends->head_dtype, [&](auto number) {
    using T = decltype(number);
    HeadParameters parameters{{step->residual, ends->norm, nullptr, step->rows, step->width, step->epsilon, 0}, {ends->head, nullptr}, ends->logits, ends->entries};
    return with_normed<T>(*step, parameters.input, step->attended, [&](auto tiles, const Tiling& tiling, int bytes) {
      parameters.input.rows_of_block = tiling.rows;
      constexpr int kTiles = decltype(tiles)::value;
      const int ring = has_ring() ? Block<T, kTiles>::kRingBytes : 0;
      const dim3 grid(static_cast<unsigned>((ends->entries + kColumns - 1) / kColumns), tiling.blocks);
      return launch<head<T, kTiles>>(grid, kNormThreads, ring + bytes, *step, parameters);
    });
  });
}
