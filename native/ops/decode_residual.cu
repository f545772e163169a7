// Products that are added to the residual stream: the attention's projection and the feed forward's way down.
#include "ops/decode_launch.cuh"
#include "ops/decode_product.cuh"

namespace metavoice::decode {

namespace {

constexpr int kWarps = 8;

template <class T>
struct Parameters {
  const T* x;       // [rows, in]
  const T* weight;  // [width, in]
  float* residual;  // [rows, width]
  int rows, in, width;
};

template <class T, int kTiles>
__global__ void __launch_bounds__(kWarps * 32) add_product(const Parameters<T> p) {
  using Matrix = Product<T, kWarps, kTiles, sizeof(T) == 2 ? 8 : 4>;
  __shared__ typename Matrix::Shared sums;
  const int first_row = static_cast<int>(blockIdx.y) * kTiles * kTileRows, first_column = static_cast<int>(blockIdx.x) * kColumns;
  const int rows = min(p.rows - first_row, kTiles * kTileRows);

  Matrix product;
  const T* weight = p.weight + static_cast<int64_t>(first_column + lane() / 4) * p.in;
  product.begin(weight, weight + 8 * static_cast<int64_t>(p.in), p.in);
  wait_for_others();
  product.run(Plain<T>{p.x + static_cast<int64_t>(first_row) * p.in, p.in}, rows, sums);

  for (int i = static_cast<int>(threadIdx.x); i < rows * kColumns; i += kWarps * 32) {
    const int row = i / kColumns, column = i % kColumns;
    float* to = p.residual + static_cast<int64_t>(first_row + row) * p.width + first_column + column;
    *to = __fadd_rn(*to, Matrix::total(sums, row, column));
  }
}

template <class T>
int add(const MetavoiceDecode& step, const void* x, const void* weight, int in) {
  const Parameters<T> parameters{static_cast<const T*>(x), static_cast<const T*>(weight), step.residual, step.rows, in, step.width};
  return with_tiles<T>(step.rows, [&](auto tiles, unsigned blocks) {
    const dim3 grid(static_cast<unsigned>(step.width / kColumns), blocks);
    return launch(add_product<T, decltype(tiles)::value>, grid, kWarps * 32, 0, step, parameters);
  });
}

}  // namespace

}  // namespace metavoice::decode

extern "C" int metavoice_decode_project(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layer) {
  using namespace metavoice::decode;
  return with_dtype(step->dtype, [&](auto number) { return add<decltype(number)>(*step, step->attended, layer->out, step->width); });
}

extern "C" int metavoice_decode_down(const MetavoiceDecode* step, const MetavoiceDecodeLayer* layer) {
  using namespace metavoice::decode;
  return with_dtype(step->dtype, [&](auto number) { return add<decltype(number)>(*step, step->activated, layer->down, step->hidden); });
}
