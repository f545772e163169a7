#include "ops/stft.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace metavoice::ops {

Stft::Stft(int64_t window) : fft_(window) {
  for (int64_t n = 0; n < window; ++n) {
    const double sine = std::sin(std::numbers::pi * (static_cast<double>(n) + 0.5) / static_cast<double>(window));
    window_.push_back(static_cast<float>(std::sin(std::numbers::pi / 2 * sine * sine)));
  }
}

void Stft::analyze(const float* samples, StftTail& tail, float* spectrum) const {
  const int64_t size = fft_.size(), half = hop();
  std::vector<float> frame(static_cast<size_t>(size));
  for (int64_t n = 0; n < half; ++n) frame[n] = tail[n] * window_[n];
  for (int64_t n = 0; n < half; ++n) frame[half + n] = samples[n] * window_[half + n];
  std::copy(samples, samples + half, tail.begin());
  fft_.forward(frame.data(), spectrum);
  const float scale = 1.0F / static_cast<float>(size);
  for (int64_t i = 0; i < 2 * bins(); ++i) spectrum[i] *= scale;
}

void Stft::synthesize(const float* spectrum, StftTail& tail, float* samples) const {
  const int64_t half = hop();
  std::vector<float> frame(static_cast<size_t>(fft_.size()));
  fft_.inverse(spectrum, frame.data());
  for (int64_t n = 0; n < half; ++n) samples[n] = frame[n] * window_[n] + tail[n];
  for (int64_t n = 0; n < half; ++n) tail[n] = frame[half + n] * window_[half + n];
}

}  // namespace metavoice::ops
