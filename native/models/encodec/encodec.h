// EnCodec: the neural codec whose codes the language models speak; always float32.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "core/weights.h"
#include "models/encodec/quantizer.h"
#include "models/encodec/seanet.h"

namespace metavoice::models::encodec {

struct EncodecConfig {
  int64_t sample_rate = 0;
  std::vector<int64_t> ratios;  // in the decoder's order
  int64_t codebooks = 0;
};

class Encodec {
 public:
  Encodec(const core::Weights& weights, const EncodecConfig& config);

  int64_t sample_rate() const { return config_.sample_rate; }
  int64_t hop() const { return decoder_.hop(); }
  int64_t codebooks() const { return quantizer_.codebooks(); }
  int64_t dimension() const { return quantizer_.dimension(); }
  int64_t codebook_size() const { return quantizer_.codebook_size(); }
  int64_t first_frames() const { return decoder_.first_frames(); }
  bool encodes() const { return encoder_.has_value(); }

  // samples [n] at the codec's rate -> codes [codebooks, ceil(n / hop)] int64
  at::Tensor encode(const at::Tensor& samples) const;
  // codes [codebooks, frames] int64 -> latent [dimension, frames], what other decoders of codes start from
  at::Tensor latent(const at::Tensor& codes) const { return quantizer_.decode(codes.to(device_)); }
  // codes [codebooks, frames] int64 -> samples [frames * hop], with carried state
  at::Tensor decode(const at::Tensor& codes, DecoderState& state) const;

 private:
  EncodecConfig config_;
  at::Device device_;
  Quantizer quantizer_;
  Decoder decoder_;
  std::optional<Encoder> encoder_;
};

}  // namespace metavoice::models::encodec
