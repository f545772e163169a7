#include "ops/sinc_resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>

#include "core/error.h"

namespace metavoice::ops {

namespace {

constexpr double kCrossings = 16, kRolloff = 0.99;
// Numbers of all filters: rates in use need some tens of thousands, rates without a common divisor thousands of millions.
constexpr int64_t kLargestTable = int64_t{1} << 22;

}  // namespace

SincResampler::SincResampler(int64_t from, int64_t to) {
  core::require(from > 0 && to > 0, "positive sample rates");
  const int64_t divisor = std::gcd(from, to);
  down_ = from / divisor;
  up_ = to / divisor;
  const double base = kRolloff * static_cast<double>(std::min(down_, up_)), rate = static_cast<double>(down_);
  reach_ = static_cast<int64_t>(std::ceil(kCrossings * rate / base));
  taps_ = 2 * reach_ + down_;
  if (up_ > kLargestTable / taps_)
    throw core::Error("ERR_UNSUPPORTED", "expected a sample rate that has more in common with " + std::to_string(to) + " Hz but received " +
                                             std::to_string(from) + " Hz; resample it first, to 48000 Hz or another usual rate");
  for (int64_t phase = 0; phase < up_; ++phase)
    for (int64_t tap = 0; tap < taps_; ++tap) {
      const double place = static_cast<double>(tap - reach_) / rate - static_cast<double>(phase) / static_cast<double>(up_);
      const double t = std::clamp(place * base, -kCrossings, kCrossings), x = std::numbers::pi * t;
      const double window = std::cos(x / kCrossings / 2);
      filters_.push_back(static_cast<float>((x == 0 ? 1 : std::sin(x) / x) * window * window * base / rate));
    }
}

SincResampler::State SincResampler::begin() const { return {std::vector<float>(static_cast<size_t>(reach_), 0.0F)}; }

void SincResampler::push(const float* samples, int64_t count, State& state, std::vector<float>& out) const {
  state.past.insert(state.past.end(), samples, samples + count);
  state.received += count;
  emit(state, INT64_MAX, out);
}

void SincResampler::finish(State& state, std::vector<float>& out) const {
  state.past.insert(state.past.end(), static_cast<size_t>(reach_ + down_), 0.0F);
  emit(state, (state.received * up_ + down_ - 1) / down_, out);
}

// A turn takes `down` samples and gives `up`, as far as the filters reach.
void SincResampler::emit(State& state, int64_t most, std::vector<float>& out) const {
  int64_t start = 0;
  for (const auto length = static_cast<int64_t>(state.past.size()); start + taps_ <= length; start += down_)
    for (int64_t phase = 0; phase < up_ && state.emitted < most; ++phase, ++state.emitted) {
      const float* filter = filters_.data() + phase * taps_;
      out.push_back(std::inner_product(filter, filter + taps_, state.past.begin() + start, 0.0F));
    }
  state.past.erase(state.past.begin(), state.past.begin() + start);
}

}  // namespace metavoice::ops
