// Norm, gate, up and SwiGLU: a block takes eight columns of each of both matrices, so that one that has a gate has what
// it is for.
#include "ops/decode_norm.cuh"

namespace metavoice::decode {

namespace {


template <class T>
struct Parameters {
  NormInput input;
  const T* gate;
  const T* up;
  T* activated;
  int hidden;
};

template <class T, int kTiles>
__global__ void __launch_bounds__(kNormThreads) gate_up(const Parameters<T> p) {
  using Matrix = Product<T, kNormWarps, kTiles, sizeof(T) == 2 ? 8 : 4>;
  __shared__ typename Matrix::Shared sums;
  const int first_row = static_cast<int>(blockIdx.y) * kTiles * kTileRows, first_column = static_cast<int>(blockIdx.x) * 8;
  const int rows = min(p.input.rows - first_row, kTiles * kTileRows);

  Matrix product;
  const int64_t from = static_cast<int64_t>(first_column + lane() / 4) * p.input.width;
  product.begin(p.gate + from, p.up + from, p.input.width);
  run_normed<T, kTiles>(product, p.input, first_row, rows, sums);

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
  return with_dtype(step->dtype, [&](auto number) {
    using T = decltype(number);
    Parameters<T> parameters{{step->residual, layer->feed_forward_norm, nullptr, step->rows, step->width, step->epsilon},
                             static_cast<const T*>(layer->gate),
                             static_cast<const T*>(layer->up),
                             static_cast<T*>(step->activated),
                             step->hidden};
    return with_normed<T>(*step, parameters.input, step->attended, [&](auto tiles, unsigned blocks, unsigned bytes) {
      const dim3 grid(static_cast<unsigned>(step->hidden / 8), blocks);
      return launch(gate_up<T, decltype(tiles)::value>, grid, kNormThreads, bytes, *step, parameters);
    });
  });
}
