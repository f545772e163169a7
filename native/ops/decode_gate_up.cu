// Norm, gate, up and SwiGLU: a block takes eight columns of each of both matrices, so that one that has a gate has what
// it is for.
#include "ops/decode_launch.cuh"
#include "ops/decode_product.cuh"

namespace metavoice::decode {

namespace {

constexpr int kWarps = 4;

template <class T>
struct Parameters {
  const float* residual;
  const float* norm;
  const T* gate;
  const T* up;
  T* activated;
  int rows, width, hidden;
  float epsilon;
};

template <class T, int kTiles>
__global__ void __launch_bounds__(kWarps * 32) gate_up(const Parameters<T> p) {
  using Matrix = Product<T, kWarps, kTiles, sizeof(T) == 2 ? 8 : 4>;
  __shared__ typename Matrix::Shared sums;
  __shared__ float scales[kTiles * kTileRows];
  const int first_row = static_cast<int>(blockIdx.y) * kTiles * kTileRows, first_column = static_cast<int>(blockIdx.x) * 8;
  const int rows = min(p.rows - first_row, kTiles * kTileRows);
  const float* residual = p.residual + static_cast<int64_t>(first_row) * p.width;

  Matrix product;
  const int64_t from = static_cast<int64_t>(first_column + lane() / 4) * p.width;
  product.begin(p.gate + from, p.up + from, p.width);
  wait_for_others();
  find_scales<kWarps, kTiles>(residual, p.width, rows, product.first(), product.last(), p.epsilon, scales);
  product.run(Normed<T>{residual, p.norm, scales, p.width}, rows, sums);

  for (int i = static_cast<int>(threadIdx.x); i < rows * 8; i += kWarps * 32) {
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
    const Parameters<T> parameters{step->residual,
                                   layer->feed_forward_norm,
                                   static_cast<const T*>(layer->gate),
                                   static_cast<const T*>(layer->up),
                                   static_cast<T*>(step->activated),
                                   step->rows,
                                   step->width,
                                   step->hidden,
                                   step->epsilon};
    return with_tiles<T>(step->rows, [&](auto tiles, unsigned blocks) {
      const dim3 grid(static_cast<unsigned>(step->hidden / 8), blocks);
      return launch(gate_up<T, decltype(tiles)::value>, grid, kWarps * 32, *step, parameters);
    });
  });
}
