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
};

template <class Weights, int kTiles>
__global__ void __launch_bounds__(kWarps * 32) add_product(const Parameters<Weights> p) {
  using Matrix = Product<Weights, kWarps, kTiles, kSteps<Weights>>;
  __shared__ typename Matrix::Shared sums;
  const int first_row = static_cast<int>(blockIdx.y) * kTiles * kTileRows, first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int rows = min(p.rows - first_row, kTiles * kTileRows);

  Matrix product;
  const int row_here = first_column + lane() / 4;
  product.begin(p.weight, row_here, p.weight, row_here + 8, p.in);
  wait_for_others();
  product.run(Plain<typename Weights::Number>{p.x + static_cast<int64_t>(first_row) * p.in, p.in}, rows, sums);

  for (int i = static_cast<int>(threadIdx.x); i < rows * kColumns; i += kWarps * 32) {
    const int row = i / kColumns, column = i % kColumns;
    float* to = p.residual + static_cast<int64_t>(first_row + row) * p.width + first_column + column;
    *to = __fadd_rn(*to, Matrix::total(sums, row, column));
  }
}

template <class Weights>
int add(const MetavoiceDecode& step, const void* x, const MetavoiceMatrix& weight, int in) {
  using T = typename Weights::Number;
  const Parameters<Weights> parameters{static_cast<const T*>(x), weight, step.residual, step.rows, in, step.width};
  return with_tiles<T>(step.rows, [&](auto tiles, unsigned blocks) {
    const dim3 grid(static_cast<unsigned>(step.width / kColumns), blocks);
    return launch(add_product<Weights, decltype(tiles)::value>, grid, kWarps * 32, 0, step, parameters);
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
