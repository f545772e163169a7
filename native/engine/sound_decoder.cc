#include "engine/sound_decoder.h"

#include "engine/health.h"

namespace metavoice::engine {

SoundDecoder::SoundDecoder(const SpeechModel& model, std::optional<DiffusionRequest> diffusion, bool whole) : model_(model) {
  if (!diffusion) return;
  if (whole) whole_ = std::move(diffusion);
  else windows_.emplace(model, std::move(*diffusion));
}

at::Tensor SoundDecoder::speak(const at::Tensor& codes, int64_t frame, bool ended) {
  if (windows_) {
    windows_->add(codes, ended);
    return windows_->speak(frame);
  }
  if (whole_) return diffuse_whole(model_, codes, *whole_, {}, redone_);
  return require_finite(model_.codec().decode(codes, decoder_), "codec").to(at::kCPU).contiguous();
}

}  // namespace metavoice::engine
