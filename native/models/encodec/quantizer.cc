#include "models/encodec/quantizer.h"

#include "core/error.h"

namespace metavoice::models::encodec {

Quantizer::Quantizer(const core::Weights& weights, int64_t codebooks) {
  constexpr auto any = core::Weights::any;
  for (int64_t i = 0; weights.has(std::to_string(i) + ".embed"); ++i) {
    const std::vector<int64_t> shape = i == 0 ? std::vector<int64_t>{any, any} : tables_[0].sizes().vec();
    const at::Tensor table = weights.tensor(std::to_string(i) + ".embed", shape, at::kFloat);
    if (i < codebooks || i == 0) tables_.push_back(table);
  }
  if (codebooks < 1 || this->codebooks() < codebooks)
    throw core::Error("ERR_CHECKPOINT", "expected " + std::to_string(codebooks) + " codebooks in the codec but found " +
                                            std::to_string(tables_.size()));
}

at::Tensor Quantizer::encode(const at::Tensor& latent) const {
  at::Tensor residual = latent.t();  // [frames, dimension]
  std::vector<at::Tensor> codes;
  for (const at::Tensor& table : tables_) {
    const at::Tensor distance = residual.square().sum(1, /*keepdim=*/true) - 2 * at::matmul(residual, table.t()) +
                                table.square().sum(1).unsqueeze(0);
    const at::Tensor index = distance.argmin(1);
    residual = residual - table.index_select(0, index);
    codes.push_back(index);
  }
  return at::stack(codes);
}

at::Tensor Quantizer::decode(const at::Tensor& codes) const {
  core::require(codes.dim() == 2 && codes.size(0) == codebooks(), "codes of every codebook");
  at::Tensor sum = tables_[0].index_select(0, codes[0]);
  for (int64_t i = 1; i < codebooks(); ++i) sum = sum + tables_[static_cast<size_t>(i)].index_select(0, codes[i]);
  return sum.t();
}

}  // namespace metavoice::models::encodec
