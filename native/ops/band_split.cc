#include "ops/band_split.h"

#include <ATen/ATen.h>

#include <bit>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/error.h"

namespace metavoice::ops {

namespace {

constexpr double kZeroCrossings = 8;  // of the sinc of the lowest cut-off, both sides together

double to_mel(double hertz) { return 2595 * std::log10(1 + hertz / 700); }
double to_hertz(double mel) { return 700 * (std::pow(10, mel / 2595) - 1); }

// Where the bands meet, in cycles per sample.
std::vector<double> cut_offs(int64_t bands, double sample_rate) {
  std::vector<double> result;
  for (int64_t k = 1; k < bands; ++k)
    result.push_back(to_hertz(to_mel(sample_rate / 2) * static_cast<double>(k) / static_cast<double>(bands)) / sample_rate);
  return result;
}

// The sinc under a symmetric Hann window, scaled to let a constant through.
void fill_lowpass(double cut_off, int64_t half, float* taps) {
  std::vector<double> values;
  double sum = 0;
  for (int64_t t = -half; t <= half; ++t) {
    const double window = 0.5 + 0.5 * std::cos(std::numbers::pi * static_cast<double>(t) / static_cast<double>(half));
    const double x = 2 * std::numbers::pi * cut_off * static_cast<double>(t);
    values.push_back(window * (t == 0 ? 1.0 : std::sin(x) / x));
    sum += values.back();
  }
  for (const double value : values) *taps++ = static_cast<float>(value / sum);
}

// Long enough that most of a block is new samples.
int64_t block_of(int64_t taps) { return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(4 * taps))); }

at::Tensor spectra_of(const at::Tensor& filters) {
  return at::conj(at::fft_rfft(filters, block_of(filters.size(-1)))).resolve_conj();
}

// Overlap-save: extended [n + taps - 1], spectra [filters, bins] -> [filters, n].
at::Tensor correlate(const at::Tensor& extended, const at::Tensor& spectra, int64_t taps) {
  const int64_t block = block_of(taps), step = block - taps + 1, wanted = extended.size(0) - taps + 1;
  core::require(wanted > 0, "a signal with its neighbours");
  const int64_t blocks = (wanted + step - 1) / step;
  const at::Tensor padded = at::constant_pad_nd(extended, {0, blocks * step + taps - 1 - extended.size(0)});
  const at::Tensor pieces = at::fft_rfft(padded.unfold(0, block, step));  // [blocks, bins]
  const at::Tensor result = at::fft_irfft(pieces.unsqueeze(0) * spectra.unsqueeze(1), block);
  return result.narrow(2, 0, step).reshape({spectra.size(0), -1}).narrow(1, 0, wanted);
}

}  // namespace

BandFilters mel_bands(int64_t bands, int64_t sample_rate, const at::Device& device) {
  core::require(bands >= 2 && sample_rate > 0, "at least two bands of a sound");
  const std::vector<double> edges = cut_offs(bands, static_cast<double>(sample_rate));
  BandFilters result;
  result.half = static_cast<int64_t>(kZeroCrossings / edges[0] / 2);
  at::Tensor lowpass = at::empty({bands - 1, 2 * result.half + 1}, at::kFloat);
  for (int64_t k = 0; k < bands - 1; ++k)
    fill_lowpass(edges[static_cast<size_t>(k)], result.half, lowpass[k].data_ptr<float>());
  result.spectra = spectra_of(lowpass).to(device);
  result.lowpass = lowpass.to(device);
  return result;
}

at::Tensor extend_ends(const at::Tensor& samples, int64_t half) {
  return at::replication_pad1d(samples.unsqueeze(0), {half, half}).squeeze(0);
}

at::Tensor split_bands(const at::Tensor& extended, const BandFilters& filters) {
  const at::Tensor low = correlate(extended, filters.spectra, filters.lowpass.size(1));  // [bands - 1, n]
  const at::Tensor all = extended.narrow(0, filters.half, low.size(1)).unsqueeze(0);
  return at::diff(at::cat({at::zeros_like(all), low, all}), 1, 0);
}

at::Tensor gain_filter(const at::Tensor& gains, const BandFilters& filters) {
  const int64_t last = filters.bands() - 1;
  core::require(gains.dim() == 1 && gains.size(0) == filters.bands(), "a gain for each band");
  const at::Tensor steps = gains.narrow(0, 0, last) - gains.narrow(0, 1, last);
  at::Tensor taps = at::matmul(steps, filters.lowpass.to(gains.scalar_type()));
  taps.narrow(0, filters.half, 1).add_(gains.narrow(0, last, 1));
  return taps.to(at::kFloat);
}

at::Tensor apply_filter(const at::Tensor& extended, const at::Tensor& taps) {
  return correlate(extended, spectra_of(taps.unsqueeze(0)), taps.size(0)).squeeze(0);
}

}  // namespace metavoice::ops
