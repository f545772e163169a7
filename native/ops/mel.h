// Spectral front end of the speaker encoder (GE2E, Wan et al. 2018): silence trim and mel power spectrogram.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

namespace metavoice::ops {

struct MelSettings {
  int64_t sample_rate = 16000;
  int64_t window = 400;  // samples; 25 ms
  int64_t hop = 160;     // samples; 10 ms
  int64_t bands = 40;
};

// Slaney-scaled, area-normalised triangles: [bands, window / 2 + 1].
at::Tensor mel_filters(const MelSettings& settings);

// samples [n] -> power (not logarithmic) mel spectrogram [1 + n / hop, bands]; zero padding, centred frames.
at::Tensor mel_spectrogram(const at::Tensor& samples, const at::Tensor& filters, const MelSettings& settings);

// [start, end) of what is louder than `decibels` below the loudest frame (2,048 samples, hop 512); empty: start == end.
std::pair<int64_t, int64_t> trim_silence(const at::Tensor& samples, double decibels);

}  // namespace metavoice::ops
