// What turns the codes of an utterance into sound, chunk by chunk: the codec's own decoder, which is exact in pieces, or
// multi-band diffusion, in windows or whole.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>

#include "engine/speech_model.h"
#include "engine/windowed_diffusion.h"

namespace metavoice::engine {

class SoundDecoder {
 public:
  // Without `diffusion` the codec's own decoder. `whole`: everything is one chunk. The model outlives it.
  SoundDecoder(const SpeechModel& model, std::optional<DiffusionRequest> diffusion, bool whole);

  // Frames that it must know behind the end of a chunk, unless the utterance ends before.
  int64_t context() const { return windows_ ? windows_->context() : 0; }
  // Windows that were done again in float32.
  int64_t redone() const { return redone_ + (windows_ ? windows_->redone() : 0); }

  // codes [codebooks, n] that follow, up to the end of a chunk and its context; after `ended` no more come. -> the chunk's
  // samples [frames * hop] float32 on the host: those from the chunk before up to `frame`.
  at::Tensor speak(const at::Tensor& codes, int64_t frame, bool ended);

 private:
  const SpeechModel& model_;
  std::optional<DiffusionRequest> whole_;
  std::optional<WindowedDiffusion> windows_;
  models::encodec::DecoderState decoder_;
  int64_t redone_ = 0;
};

}  // namespace metavoice::engine
