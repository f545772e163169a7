#include "ops/resample.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "core/error.h"

namespace metavoice::ops {

namespace {

constexpr double kPassBand = 0.9136;
constexpr double kAttenuation = 125.0;  // decibels

// Modified Bessel function of the first kind, order 0, by its series.
double bessel_i0(double x) {
  double sum = 1, term = 1;
  for (int k = 1; k < 200 && term > sum * 1e-17; ++k) {
    term *= (x / (2 * k)) * (x / (2 * k));
    sum += term;
  }
  return sum;
}

struct Filters {
  at::Tensor taps;  // [phases, 1, width]
  int64_t left;     // input samples before the phase's own
};

// One filter per output phase: output m = q * up + p reads inputs around q * down + p * down / up.
Filters design(int64_t up, int64_t down) {
  const double lower = std::min(1.0, static_cast<double>(up) / static_cast<double>(down));  // lower Nyquist, in input's
  const double cutoff = lower * (1 + kPassBand) / 2;
  const double transition = lower * (1 - kPassBand) * std::numbers::pi;
  const double length = (kAttenuation - 7.95) / (2.285 * transition);
  const double half = std::ceil(length / 2);
  const double beta = 0.1102 * (kAttenuation - 8.7);
  const auto left = static_cast<int64_t>(half);
  const int64_t width = 2 * left + 1 + down;  // the last phase begins almost `down` inputs later

  at::Tensor taps = at::zeros({up, 1, width}, at::kFloat);
  float* out = taps.data_ptr<float>();
  for (int64_t phase = 0; phase < up; ++phase) {
    const double centre = static_cast<double>(phase * down) / static_cast<double>(up);
    double sum = 0;
    std::vector<double> row(static_cast<size_t>(width), 0.0);
    for (int64_t i = 0; i < width; ++i) {
      const double t = static_cast<double>(i - left) - centre;
      if (std::abs(t) > half) continue;
      const double x = std::numbers::pi * cutoff * t;
      const double window = bessel_i0(beta * std::sqrt(1 - (t / half) * (t / half))) / bessel_i0(beta);
      row[i] = (x == 0 ? 1.0 : std::sin(x) / x) * window;
      sum += row[i];
    }
    for (int64_t i = 0; i < width; ++i) out[phase * width + i] = static_cast<float>(row[i] / sum);
  }
  return {taps, left};
}

}  // namespace

at::Tensor resample(const at::Tensor& samples, int64_t from, int64_t to) {
  core::require(from > 0 && to > 0, "positive sample rates");
  if (from == to) return samples;
  const int64_t divisor = std::gcd(from, to);
  const int64_t up = to / divisor, down = from / divisor;
  const int64_t length = samples.size(0);
  const int64_t wanted = (length * up + down - 1) / down;
  if (wanted == 0) return samples.new_empty({0});

  const Filters filters = design(up, down);
  const int64_t width = filters.taps.size(2);
  const int64_t frames = (wanted + up - 1) / up;
  const int64_t right = std::max<int64_t>(0, (frames - 1) * down + width - filters.left - length);
  const at::Tensor padded = at::constant_pad_nd(samples.to(at::kFloat).view({1, 1, length}), {filters.left, right});
  const at::Tensor phases = at::conv1d(padded, filters.taps, {}, down);  // [1, up, frames]
  return phases.squeeze(0).narrow(1, 0, frames).t().reshape({-1}).narrow(0, 0, wanted).contiguous();
}

}  // namespace metavoice::ops
