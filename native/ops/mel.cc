#include "ops/mel.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace metavoice::ops {

namespace {

// Slaney's scale: linear below 1 kHz, logarithmic above.
constexpr double kLinearStep = 200.0 / 3, kCorner = 1000.0, kCornerMel = kCorner / kLinearStep;
const double kLogStep = std::log(6.4) / 27;

double to_mel(double hertz) {
  return hertz < kCorner ? hertz / kLinearStep : kCornerMel + std::log(hertz / kCorner) / kLogStep;
}

double to_hertz(double mel) {
  return mel < kCornerMel ? mel * kLinearStep : kCorner * std::exp((mel - kCornerMel) * kLogStep);
}

}  // namespace

at::Tensor mel_filters(const MelSettings& settings) {
  const int64_t bins = settings.window / 2 + 1;
  const double top = to_mel(static_cast<double>(settings.sample_rate) / 2);
  std::vector<double> edges(static_cast<size_t>(settings.bands + 2));
  for (size_t i = 0; i < edges.size(); ++i) edges[i] = to_hertz(top * static_cast<double>(i) / static_cast<double>(settings.bands + 1));

  at::Tensor filters = at::zeros({settings.bands, bins}, at::kFloat);
  float* out = filters.data_ptr<float>();
  for (int64_t band = 0; band < settings.bands; ++band) {
    const double low = edges[band], middle = edges[band + 1], high = edges[band + 2];
    for (int64_t bin = 0; bin < bins; ++bin) {
      const double hertz = static_cast<double>(bin * settings.sample_rate) / static_cast<double>(settings.window);
      const double height = std::max(0.0, std::min((hertz - low) / (middle - low), (high - hertz) / (high - middle)));
      out[band * bins + bin] = static_cast<float>(height * 2 / (high - low));
    }
  }
  return filters;
}

at::Tensor mel_spectrogram(const at::Tensor& samples, const at::Tensor& filters, const MelSettings& settings) {
  const int64_t margin = settings.window / 2;
  const at::Tensor window = at::hann_window(settings.window, samples.options());
  const at::Tensor frames = at::constant_pad_nd(samples, {margin, margin}).unfold(0, settings.window, settings.hop);
  const at::Tensor power = at::abs(at::fft_rfft(frames * window)).square();  // [frames, bins]
  return at::matmul(power, filters.t());
}

std::pair<int64_t, int64_t> trim_silence(const at::Tensor& samples, double decibels) {
  constexpr int64_t kWindow = 2048, kHop = 512;
  const int64_t length = samples.size(0);
  if (length == 0) return {0, 0};
  const at::Tensor frames = at::constant_pad_nd(samples, {kWindow / 2, kWindow / 2}).unfold(0, kWindow, kHop);
  const at::Tensor power = frames.square().mean(1).clamp_min(1e-10);  // the floor of librosa's amplitude_to_db
  const at::Tensor level = 10 * at::log10(power);
  const at::Tensor kept = at::nonzero(level - level.max() > -decibels).view({-1});
  const bool silent = samples.abs().max().item<float>() == 0.0F;
  if (kept.numel() == 0 || silent) return {0, 0};
  const int64_t start = kept[0].item<int64_t>() * kHop;
  const int64_t end = std::min(length, (kept[-1].item<int64_t>() + 1) * kHop);
  return {start, end};
}

}  // namespace metavoice::ops
