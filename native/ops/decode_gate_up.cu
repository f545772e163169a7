// Norm, gate, up and SwiGLU: a block takes eight columns of each of both matrices, so that one that has a gate has what
// it is for.
#include "ops/decode_norm.cuh"

namespace metavoice::decode {

namespace {


template <class Weights, int kTiles>
using Block = Product<Weights, kNormWarps, kTiles, kSteps<Weights>>;

template <class Weights>
struct Parameters {
  using T = typename Weights::Number;
  NormInput input;
  MetavoiceMatrix gate, up;
  T* activated;
  int hidden;
};

template <class Weights, int kTiles>
__global__ void __launch_bounds__(kNormThreads) gate_up(const Parameters<Weights> p) {
  using Matrix = Block<Weights, kTiles>;
  __shared__ typename Matrix::Shared sums;
  DYNAMIC_SHARED(shared);
  const int first_row = static_cast<int>(blockIdx.y) * p.input.rows_of_block, first_column = static_cast<int>(blockIdx.x) * 8;
  const int rows = min(p.input.rows - first_row, p.input.rows_of_block);

  Matrix product;
  const int row_here = first_column + lane() / 4;
  product.begin(p.gate, row_here, p.up, row_here, p.input.width, shared);
  run_normed<kTiles>(product, p.input, first_row, rows, shared + Matrix::kRingBytes, sums);

  for (int i = static_cast<int>(threadIdx.x); i < rows * 8; i += kNormThreads) {
    const int row = i / 8, column = i % 8;
    const float gate = Matrix::total(sums, row, column), up = Matrix::total(sums, row, column + 8);
    const float silu = __fdiv_rn(gate, __fadd_rn(1.0F, expf(-gate)));
    store(p.activated + static_cast<int64_t>(first_row + row) * p.hidden + first_column + column, __fmul_rn(silu, up));
  }
}

}  // namespace

}  // namespace metavoice::decode

extern "C" int metavoice_decode_gate_up(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layer) {
  using namespace metavoice::decode;
  return with_weights(*step, [&](auto weights) {
    using Weights = decltype(weights);
    using T = typename Weights::Number;
    Parameters<Weights> parameters{{step->residual, layer->feed_forward_norm, nullptr, step->rows, step->width, step->epsilon, 0},
                             layer->gate,
                             layer->up,
                             static_cast<T*>(step->activated),
                             step->hidden};
    return with_normed<T>(*step, parameters.input, step->attended, [&](auto tiles, const Tiling& tiling, int bytes) {
      parameters.input.rows_of_block = tiling.rows;
      constexpr int kTiles = decltype(tiles)::value;
      const int ring = has_ring() ? Block<Weights, kTiles>::kRingBytes : 0;
      const dim3 grid(static_cast<unsigned>(step->hidden / 8), tiling.blocks);
      return launch<gate_up<Weights, kTiles>>(grid, kNormThreads, ring + bytes, *step, parameters);
    });
  });
}
