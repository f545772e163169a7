// Each stage on its own, whole: for research, tests and tools (`metavoice/stages`). Results lie on the host.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <vector>

#include "core/stop.h"
#include "engine/speech_model.h"

namespace metavoice::engine {

// ids [T] -> [2, T, vocabulary] float32: row 0 with the speaker, row 1 without. The first `prompt` of them in one pass; the
// others one by one over the pages of keys and values, by the steps that speak.
at::Tensor first_stage_logits(const SpeechModel& model, const at::Tensor& ids, const at::Tensor& speaker, int64_t prompt);

// Ids by unmasked arg-max through the pages; includes and stops at end of audio.
std::vector<int32_t> first_stage_greedy(const SpeechModel& model, const at::Tensor& ids, const at::Tensor& speaker,
                                        float guidance, int64_t steps);

// One whole pass on text [T] and codes [2, frames]: the audio columns [predicted, frames, codebook size + 1] float32.
at::Tensor second_stage_logits(const SpeechModel& model, const at::Tensor& text, const at::Tensor& codes,
                               const at::Tensor& speaker);

struct EmbeddedSpeaker {
  at::Tensor embedding;  // [width] float32
  int64_t trim_start;    // in samples at 16 kHz
  int64_t trim_end;
  int64_t samples;  // at 16 kHz, before the trim
};
EmbeddedSpeaker embed_speaker(const SpeechModel& model, const at::Tensor& samples, int64_t sample_rate);

// samples [n] -> codes [codebooks, frames] int64
at::Tensor encode(const SpeechModel& model, const at::Tensor& samples, int64_t sample_rate);

// codes [codebooks, frames] int64 -> samples [frames * hop]; in pieces of so many frames with carried state, if given.
at::Tensor decode(const SpeechModel& model, const at::Tensor& codes, const std::vector<int64_t>& pieces);

// codes [codebooks, frames] int64 -> samples [frames * hop] by diffusion of the whole: norms and levels over all of it.
// `noise` [bands, draws, samples] float32 has a draw for each step, or is drawn from `seed` where it is undefined. With
// `chunk_ends` in windows that follow such chunks (engine/windowed_diffusion.h), from the seed. ABORT_ERR within an
// evaluation of a network once it is stopped.
at::Tensor diffuse(const SpeechModel& model, const at::Tensor& codes, uint64_t seed, const at::Tensor& noise, int64_t steps,
                   const std::vector<int64_t>& chunk_ends, const core::Stopped& stopped = {});

struct EnhancedSignal {
  at::Tensor samples;
  int64_t sample_rate;  // the enhancer's
};
// samples [n] at any rate -> the same seconds at the enhancer's rate, between -1 and 1. ABORT_ERR within a second of the signal
// once it is stopped.
EnhancedSignal enhance(const SpeechModel& model, const at::Tensor& samples, int64_t sample_rate, const core::Stopped& stopped = {});

// The enhancer's network: a spectrum [frames * bins * 2] and its features, all flat. ABORT_ERR within a frame once it is stopped.
models::deep_filter::DeepFilter::Enhanced enhance_spectrum(const SpeechModel& model, const at::Tensor& spectrum,
                                                           const at::Tensor& levels, const at::Tensor& bins,
                                                           const core::Stopped& stopped = {});

}  // namespace metavoice::engine
