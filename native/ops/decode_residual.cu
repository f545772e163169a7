// Products that are added to the residual stream: the attention's projection and the feed forward's way down.
#include "ops/decode_launch.cuh"
#include "ops/decode_product.cuh"

namespace metavoice::decode {

namespace {

constexpr int kWarps = 8;

template <class Weights>
struct Parameters {
  const typename Weights::Number* x;  // [rows, in]
  MetavoiceMatrix weight;             // [width, in]
  float* residual;                    // [rows, width]
  int rows, in, width;
  int rows_of_block;
  bool near;  // whether a block's rows fit into shared memory
};

template <class Weights, int kTiles>
using Block = Product<Weights, kWarps, kTiles, kSteps<Weights>>;

// Rows that fit are copied to shared memory by all of the block.
template <class T>
__device__ __forceinline__ void copy_rows(const T* from, int rows, int in, T* to) {
  const int chunks = in / 8;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < rows * chunks; i += kWarps * 32) {
    const int row = i / chunks, at = i % chunks * 8;
    keep(to + row * (in + Near<T>::kPadding) + at, load(from + static_cast<int64_t>(row) * in + at));
  }
  __syncthreads();
}

template <class Weights, int kTiles>
__global__ void __launch_bounds__(kWarps * 32) add_product(const Parameters<Weights> p) {
  using Matrix = Block<Weights, kTiles>;
  using T = typename Weights::Number;
  __shared__ typename Matrix::Shared sums;
  DYNAMIC_SHARED(shared);
  const int first_row = static_cast<int>(blockIdx.y) * p.rows_of_block, first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int rows = min(p.rows - first_row, p.rows_of_block);

  Matrix product;
  const int row_here = first_column + lane() / 4;
  product.begin(p.weight, row_here, p.weight, row_here + 8, p.in, shared);
  wait_for_others();
  const T* x = p.x + static_cast<int64_t>(first_row) * p.in;
  if (kTiles == 1 && p.near) {
    T* near = reinterpret_cast<T*>(shared + Matrix::kRingBytes);
    copy_rows(x, rows, p.in, near);
    product.run(Near<T>{near, p.in + Near<T>::kPadding}, rows, sums);
  } else {
    product.run(Plain<T>{x, p.in}, rows, sums);
  }

  for (int i = static_cast<int>(threadIdx.x); i < rows * kColumns; i += kWarps * 32) {
    const int row = i / kColumns, column = i % kColumns;
    float* to = p.residual + static_cast<int64_t>(first_row + row) * p.width + first_column + column;
    *to = __fadd_rn(*to, Matrix::total(sums, row, column));
  }
}

// As much as every device has beside what is on its way.
constexpr int kMostNearBytes = 30 * 1024;

template <class Weights>
int add(const MetavoiceDecode& step, const void* x, const MetavoiceMatrix& weight, int in) {
  using T = typename Weights::Number;
  return with_tiles<T>(step.rows, [&](auto tiles, const Tiling& tiling) {
    constexpr int kTiles = decltype(tiles)::value;
    const int bytes = (step.rows < tiling.rows ? step.rows : tiling.rows) * (in + Near<T>::kPadding) * static_cast<int>(sizeof(T));
    const bool near = kTiles == 1 && bytes <= kMostNearBytes;
    const Parameters<Weights> parameters{static_cast<const T*>(x), weight, step.residual, step.rows, in, step.width, tiling.rows, near};
    const dim3 grid(static_cast<unsigned>(step.width / kColumns), tiling.blocks);
    const int ring = has_ring() ? Block<Weights, kTiles>::kRingBytes : 0;
    return launch<add_product<Weights, kTiles>>(grid, kWarps * 32, ring + (near ? bytes : 0), step, parameters);
  });
}

}  // namespace

}  // namespace metavoice::decode

extern "C" int metavoice_decode_project(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layer) {
  using namespace metavoice::decode;
  return with_weights(*step, [&](auto weights) { return add<decltype(weights)>(*step, step->attended, layer->out, step->width); });
}

extern "C" int metavoice_decode_down(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layer) {
  using namespace metavoice::decode;
  return with_weights(*step, [&](auto weights) { return add<decltype(weights)>(*step, step->activated, layer->down, step->hidden); });
}
