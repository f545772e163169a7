#include "ops/resample.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

#include "core/error.h"

namespace metavoice::ops {

namespace {

constexpr double kPassBand = 0.9136;
constexpr double kAttenuation = 125.0;  // decibels
constexpr double kBeta = 0.1102 * (kAttenuation - 8.7);
constexpr int64_t kLargestTable = int64_t{1} << 22;  // taps; beyond it, filters are made where they are used

// Modified Bessel function of the first kind, order 0, by its series.
double bessel_i0(double x) {
  double sum = 1, term = 1;
  for (int k = 1; k < 200 && term > sum * 1e-17; ++k) {
    term *= (x / (2 * k)) * (x / (2 * k));
    sum += term;
  }
  return sum;
}

// The windowed sinc, tabulated finely once: linear interpolation between entries errs below -130 dB.
class Kernel {
 public:
  Kernel(int64_t up, int64_t down) {
    const double lower = std::min(1.0, static_cast<double>(up) / static_cast<double>(down));  // Nyquist, in the input's
    const double cutoff = lower * (1 + kPassBand) / 2, transition = lower * (1 - kPassBand) * std::numbers::pi;
    half_ = std::ceil((kAttenuation - 7.95) / (2.285 * transition) / 2);
    scale_ = kEntriesPerCrossing * lower;
    const auto entries = static_cast<size_t>(std::ceil(half_ * scale_)) + 2;
    for (size_t i = 0; i < entries; ++i) {
      const double t = static_cast<double>(i) / scale_, x = std::numbers::pi * cutoff * t, inside = 1 - (t / half_) * (t / half_);
      const double window = inside > 0 ? bessel_i0(kBeta * std::sqrt(inside)) / bessel_i0(kBeta) : 0;
      table_.push_back((x == 0 ? 1.0 : std::sin(x) / x) * window);
    }
  }

  // Input samples on each side that a filter reaches.
  int64_t half() const { return static_cast<int64_t>(half_); }
  int64_t taps() const { return 2 * half() + 2; }

  // The filter of one phase: tap i weighs the input i - half() samples after the last one at or before the output.
  void fill(double phase, float* taps_out) const {
    double sum = 0;
    for (int64_t i = 0; i < taps(); ++i) sum += at(static_cast<double>(i - half()) - phase);
    for (int64_t i = 0; i < taps(); ++i) taps_out[i] = static_cast<float>(at(static_cast<double>(i - half()) - phase) / sum);
  }

 private:
  static constexpr double kEntriesPerCrossing = 2048;

  double at(double t) const {
    const double place = std::abs(t) * scale_;
    const auto index = static_cast<size_t>(place);
    if (std::abs(t) >= half_ || index + 1 >= table_.size()) return 0;
    return table_[index] + (table_[index + 1] - table_[index]) * (place - static_cast<double>(index));
  }

  double half_, scale_;
  std::vector<double> table_;
};

// Eight sums at a time, so that the compiler may use vectors without reordering what we wrote.
float dot(const float* a, const float* b, int64_t count) {
  float sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  float total = 0;
  for (; i < count; ++i) total += a[i] * b[i];
  for (const float sum : sums) total += sum;
  return total;
}

}  // namespace

at::Tensor resample(const at::Tensor& samples, int64_t from, int64_t to) {
  core::require(from > 0 && to > 0, "positive sample rates");
  if (from == to) return samples;
  const int64_t divisor = std::gcd(from, to), up = to / divisor, down = from / divisor;
  const at::Tensor input = samples.to(at::kFloat).contiguous();
  const int64_t length = input.size(0), wanted = (length * up + down - 1) / down;
  at::Tensor output = at::empty({wanted}, input.options());

  const Kernel kernel(up, down);
  const int64_t taps = kernel.taps(), half = kernel.half();
  const auto phase = [&](int64_t index) { return static_cast<double>(index) / static_cast<double>(up); };
  std::vector<float> table(up * taps <= kLargestTable ? static_cast<size_t>(up * taps) : 0);
  if (!table.empty())
    for (int64_t i = 0; i < up; ++i) kernel.fill(phase(i), table.data() + i * taps);

  const float* in = input.data_ptr<float>();
  float* out = output.data_ptr<float>();
  at::parallel_for(0, wanted, 1024, [&](int64_t begin, int64_t end) {
    std::vector<float> own(table.empty() ? static_cast<size_t>(taps) : 0);
    for (int64_t m = begin; m < end; ++m) {
      const int64_t place = m * down, index = place % up, start = place / up - half;
      if (table.empty()) kernel.fill(phase(index), own.data());
      const float* filter = table.empty() ? own.data() : table.data() + index * taps;
      // Outside of the signal there is silence.
      const int64_t first = std::max<int64_t>(0, -start), last = std::min(taps, length - start);
      out[m] = last > first ? dot(filter + first, in + start + first, last - first) : 0.0F;
    }
  });
  return output;
}

}  // namespace metavoice::ops
