// Residual vector quantiser of EnCodec: each codebook codes what the ones before it left over.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/weights.h"

namespace metavoice::models::encodec {

class Quantizer {
 public:
  // The first `codebooks` of those stored.
  Quantizer(const core::Weights& weights, int64_t codebooks);

  int64_t codebooks() const { return static_cast<int64_t>(tables_.size()); }
  int64_t codebook_size() const { return tables_[0].size(0); }
  int64_t dimension() const { return tables_[0].size(1); }

  // latent [dimension, frames] -> codes [codebooks, frames] int64
  at::Tensor encode(const at::Tensor& latent) const;
  // codes [codebooks, frames] int64 -> latent [dimension, frames]
  at::Tensor decode(const at::Tensor& codes) const;

 private:
  std::vector<at::Tensor> tables_;  // [codebook size, dimension]
};

}  // namespace metavoice::models::encodec
