#include "ops/erb.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"

namespace metavoice::ops {

namespace {

constexpr float kEarQ = 9.265F, kLeastBandwidth = 24.7F;

float to_erb(float hertz) { return kEarQ * std::log1p(hertz / (kLeastBandwidth * kEarQ)); }
float to_hertz(float erb) { return kLeastBandwidth * kEarQ * (std::exp(erb / kEarQ) - 1.0F); }

std::vector<float> ramp(float first, float last, int64_t count) {
  const float step = count > 1 ? (last - first) / static_cast<float>(count - 1) : 0.0F;
  std::vector<float> result;
  for (int64_t i = 0; i < count; ++i) result.push_back(first + static_cast<float>(i) * step);
  return result;
}

}  // namespace

std::vector<int64_t> erb_widths(int64_t sample_rate, int64_t window, int64_t bands, int64_t least) {
  const int64_t bins = window / 2 + 1;
  core::require(bands >= 1 && least >= 0 && bands * least <= bins, "bins for every band");
  const float spacing = static_cast<float>(sample_rate) / static_cast<float>(window);
  const float step = to_erb(static_cast<float>(sample_rate) / 2) / static_cast<float>(bands);
  std::vector<int64_t> widths;
  int64_t before = 0, borrowed = 0;  // what a band took beyond its edge, the next one lacks
  for (int64_t band = 1; band <= bands; ++band) {
    const int64_t edge = std::lround(to_hertz(step * static_cast<float>(band)) / spacing);
    const int64_t width = edge - before - borrowed;
    borrowed = std::max<int64_t>(0, least - width);
    widths.push_back(std::max(width, least));
    before = edge;
  }
  ++widths.back();  // the bin at half the rate
  int64_t sum = 0;
  for (const int64_t width : widths) sum += width;
  widths.back() -= std::max<int64_t>(0, sum - bins);
  core::require(widths.back() >= 1, "bins for every band");
  return widths;
}

float mean_decay(int64_t sample_rate, int64_t hop, double seconds) {
  core::require(sample_rate > 0 && hop > 0 && seconds > 0 && std::isfinite(seconds), "a time that passes");
  const double exact = std::exp(-static_cast<double>(hop) / static_cast<double>(sample_rate) / seconds);
  double decay = 1;
  for (double unit = 1e3; decay >= 1 && unit < 1e15; unit *= 10) decay = std::nearbyint(exact * unit) / unit;
  return static_cast<float>(decay);
}

RunningMeans RunningMeans::initial(int64_t bands, int64_t bins) {
  return {ramp(-60.0F, -90.0F, bands), ramp(0.001F, 0.0001F, bins)};
}

void erb_levels(const float* spectrum, const std::vector<int64_t>& widths, float decay, RunningMeans& means, float* levels) {
  for (size_t band = 0; band < widths.size(); ++band) {
    const float share = 1.0F / static_cast<float>(widths[band]);
    float power = 0;
    for (int64_t bin = 0; bin < widths[band]; ++bin, spectrum += 2) power += (spectrum[0] * spectrum[0] + spectrum[1] * spectrum[1]) * share;
    const float level = 10.0F * std::log10(power + 1e-10F);
    means.level[band] = level * (1.0F - decay) + means.level[band] * decay;
    levels[band] = (level - means.level[band]) / 40.0F;
  }
}

void unit_norm(const float* spectrum, float decay, RunningMeans& means, float* normalized) {
  for (size_t bin = 0; bin < means.magnitude.size(); ++bin) {
    const float re = spectrum[2 * bin], im = spectrum[2 * bin + 1];
    float& mean = means.magnitude[bin];
    // A long silence would bring it to 0, and the bins to no number.
    mean = std::max(std::hypot(re, im) * (1.0F - decay) + mean * decay, std::numeric_limits<float>::min());
    const float scale = std::sqrt(mean);
    normalized[2 * bin] = re / scale;
    normalized[2 * bin + 1] = im / scale;
  }
}

}  // namespace metavoice::ops
