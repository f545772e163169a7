#include "models/encodec/encodec.h"

#include "core/error.h"

namespace metavoice::models::encodec {

Encodec::Encodec(const core::Weights& weights, const EncodecConfig& config)
    : config_(config),
      device_(weights.placement().device),
      quantizer_(weights.scope("quantizer"), config.codebooks),
      decoder_(weights.scope("decoder"), quantizer_.dimension(), config.ratios) {
  if (weights.has("encoder.0.bias")) encoder_.emplace(weights.scope("encoder"), quantizer_.dimension(), config.ratios);
  weights.require_all_used();
}

at::Tensor Encodec::encode(const at::Tensor& samples) const {
  if (!encoder_) throw core::Error("ERR_UNSUPPORTED", "this model ships no codec encoder: it can decode codes, not make them");
  return quantizer_.encode(encoder_->forward(samples.to(device_)));
}

at::Tensor Encodec::decode(const at::Tensor& codes, DecoderState& state) const {
  return decoder_.step(latent(codes), state);
}

}  // namespace metavoice::models::encodec
