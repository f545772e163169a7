// Norm and projection to queries, keys and values. Keys and values go where the row's new position lies in its pages; for pages of
// int8, whose scale only all numbers of a head tell, they wait for the attention.
#include "ops/decode_norm.cuh"
#include "ops/decode_page.cuh"

namespace metavoice::decode {

namespace {

template <class Weights, int kTiles>
using Block = Product<Weights, kNormWarps, kTiles, kSteps<Weights>>;

template <class Weights>
struct Parameters {
  using T = typename Weights::Number;
  NormInput input;
  MetavoiceMatrix weight;
  T* queries;
  T* memory;
  T* fresh;  // or null
  const int32_t* positions;
  const int32_t* pages;
  int64_t page_numbers;
  int heads, page_stride;
};

// Where number `at` of a row's keys or values lies.
template <class Weights>
__device__ typename Weights::Number* place_of(const Parameters<Weights>& p, int row, int position, bool value, int at) {
  const int head_width = p.input.width / p.heads, head = at / head_width, number = at % head_width, place = position % kPage;
  const int32_t page = p.pages[static_cast<int64_t>(row) * p.page_stride + position / kPage];
  auto* side = p.memory + page * p.page_numbers + static_cast<int64_t>(value ? p.heads + head : head) * head_width * kPage;
  return side + (value ? place * head_width + number : number * kPage + place);
}

template <class Weights, int kTiles>
__global__ void __launch_bounds__(kNormThreads) project_qkv(const Parameters<Weights> p) {
  using Matrix = Block<Weights, kTiles>;
  __shared__ typename Matrix::Shared sums;
  DYNAMIC_SHARED(shared);
  const int first_row = static_cast<int>(blockIdx.y) * p.input.rows_of_block, first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int rows = min(p.input.rows - first_row, p.input.rows_of_block);

  Matrix product;
  const int width = p.input.width;
  const int row_here = first_column + lane() / 4;
  product.begin(p.weight, row_here, p.weight, row_here + 8, width, shared);
  run_normed<kTiles>(product, p.input, first_row, rows, shared + Matrix::kRingBytes, sums);

  for (int i = static_cast<int>(threadIdx.x); i < rows * kColumns; i += kNormThreads) {
    const int row = i / kColumns, column = first_column + i % kColumns, at = column % width;
    const float sum = Matrix::total(sums, row, i % kColumns);
    if (column < width) {
      store(p.queries + static_cast<int64_t>(first_row + row) * width + at, sum);
      continue;
    }
    if (p.fresh != nullptr) {
      store(p.fresh + (2 * static_cast<int64_t>(first_row + row) + (column >= 2 * width ? 1 : 0)) * width + at, sum);
      continue;
    }
    const int position = p.positions[first_row + row];
    if (position >= 0) store(place_of(p, first_row + row, position, column >= 2 * width, at), sum);
  }
}

}  // namespace

}  // namespace metavoice::decode

extern "C" int metavoice_decode_qkv(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layer) {
  using namespace metavoice::decode;
  return with_weights(*step, [&](auto weights) {
    using Weights = decltype(weights);
    using T = typename Weights::Number;
    Parameters<Weights> parameters{{step->residual, layer->attention_norm, nullptr, step->rows, step->width, step->epsilon, 0},
                             layer->qkv,
                             static_cast<T*>(step->queries),
                             static_cast<T*>(layer->pages),
                             step->page_kind == METAVOICE_PAGES_INT8 ? static_cast<T*>(step->fresh) : nullptr,
                             step->positions,
                             step->pages,
                             step->page_numbers,
                             step->heads,
                             step->page_stride};
    return with_normed<T>(*step, parameters.input, step->attended, [&](auto tiles, const Tiling& tiling, int bytes) {
      parameters.input.rows_of_block = tiling.rows;
      constexpr int kTiles = decltype(tiles)::value;
      const int ring = has_ring() ? Block<Weights, kTiles>::kRingBytes : 0;
      const dim3 grid(static_cast<unsigned>(3 * step->width / kColumns), tiling.blocks);
      return launch<project_qkv<Weights, kTiles>>(grid, kNormThreads, ring + bytes, *step, parameters);
    });
  });
}
