// SpeakerEncoder: a speaker-verification LSTM (GE2E, Wan et al. 2018) over slices of 1.6 s; always float32.
#pragma once

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "core/weights.h"
#include "layers/linear.h"
#include "layers/lstm.h"
#include "ops/mel.h"

namespace metavoice::models {

class SpeakerEncoder {
 public:
  static constexpr int64_t sample_rate = 16000;
  static constexpr int64_t slice_frames = 160;
  static constexpr int64_t samples_per_frame = 160;
  static constexpr double trim_decibels = 20;

  explicit SpeakerEncoder(const core::Weights& weights);

  int64_t width() const { return linear_.out(); }

  // Mel frames [start, end) of the slices of a signal: 77 frames apart, the last one only if three quarters are covered.
  static std::vector<std::pair<int64_t, int64_t>> slices(int64_t samples);

  // samples [n] at 16 kHz, already trimmed -> mel frames [frames, 40] of the signal, padded to its last slice.
  at::Tensor mel(const at::Tensor& samples) const;
  // -> one unit vector per slice [slices, width]
  at::Tensor partials(const at::Tensor& samples) const;
  // -> the mean of the slices' vectors, of unit length [width]
  at::Tensor embed(const at::Tensor& samples) const;

 private:
  ops::MelSettings settings_;
  at::Tensor filters_;  // [bands, bins]
  layers::Lstm lstm_;
  layers::Linear linear_;
};

}  // namespace metavoice::models
