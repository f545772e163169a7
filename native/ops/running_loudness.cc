#include "ops/running_loudness.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numeric>

namespace metavoice::ops {

namespace {

// Before anything was heard, speech is taken to be as loud as recordings of it often are. It counts as so many blocks,
// fewer with each that is heard, and nothing from the tenth on: after a second of speech.
constexpr double kUsualLoudness = -20;  // LKFS
constexpr double kUsualBlocks = 0.5;
constexpr double kForgottenAfter = 10;

constexpr size_t kStepsPerBlock = 4;

double audible(double weighted, double plain, int64_t samples) {
  const auto count = static_cast<double>(samples);
  return plain / count < kSilentRms * kSilentRms ? 0 : weighted / count;
}

// The gain that brings what was heard to the target, from the mean squares of steps of 100 ms; `gain` where nothing says.
double wanted_gain(const std::deque<double>& steps, double target, double gain) {
  std::vector<double> blocks(steps.begin(), steps.end());
  if (steps.size() >= kStepsPerBlock) {
    blocks.clear();
    for (size_t i = 0; i + kStepsPerBlock <= steps.size(); ++i)
      blocks.push_back(std::accumulate(steps.begin() + i, steps.begin() + i + kStepsPerBlock, 0.0) / kStepsPerBlock);
  }
  const auto heard = static_cast<double>(std::count_if(steps.begin(), steps.end(), [](double each) { return each > 0; }));
  const double usual = kUsualBlocks * std::max(0.0, 1 - heard / kForgottenAfter);
  const std::optional<double> square = gated_mean(std::move(blocks), {usual, mean_square_of(kUsualLoudness)});
  return square ? std::pow(10, (target - loudness_of(*square)) / 20) : gain;
}

// The gain to begin with, from what the opening has; the stream hears it again as it goes through.
double first_gain(const float* samples, int64_t length, const RunningLoudness& state) {
  const int64_t step = loudness_step(state.rate);
  KWeighting weighting = state.weighting;
  std::deque<double> steps;
  for (int64_t first = 0; first < length; first += step) {
    const int64_t last = std::min(first + step, length);
    double weighted = 0, plain = 0;
    for (int64_t i = first; i < last; ++i) {
      const double x = samples[i], y = weighting.step(x);
      weighted += y * y;
      plain += x * x;
    }
    steps.push_back(audible(weighted, plain, last - first));
  }
  return wanted_gain(steps, state.target, 1);
}

// Where the gain goes in the next 100 ms: towards what is wanted now, no faster than it may. Within the opening it stays.
void aim(RunningLoudness& state) {
  const int64_t step = loudness_step(state.rate);
  const double seconds = static_cast<double>(step) / static_cast<double>(state.rate);
  state.gain = state.next_gain;
  if (static_cast<int64_t>(state.heard.size()) * step < state.opening) return;
  const double change = 20 * std::log10(wanted_gain(state.heard, state.target, state.gain) / state.gain);
  const double allowed = std::clamp(change, -kFastestFall * seconds, kFastestRise * seconds);
  state.next_gain = state.gain * std::pow(10, allowed / 20);
  state.growth = std::pow(10, allowed / 20 / static_cast<double>(step));
}

void end_step(RunningLoudness& state) {
  state.heard.push_back(audible(state.weighted, state.plain, state.place));
  if (static_cast<double>(state.heard.size() * state.place) > kLongestMemory * static_cast<double>(state.rate)) state.heard.pop_front();
  state.place = 0;
  state.weighted = state.plain = 0;
  aim(state);
}

}  // namespace

RunningLoudness::RunningLoudness(int64_t rate_of_samples, double wanted, int64_t opening_samples)
    : rate(rate_of_samples), target(wanted), opening(opening_samples), weighting(rate_of_samples) {}

at::Tensor normalize_loudness(const at::Tensor& samples, RunningLoudness& state) {
  const at::Tensor input = samples.to(at::kCPU, at::kFloat).contiguous();
  at::Tensor output = at::empty_like(input);
  const float* in = input.data_ptr<float>();
  float* out = output.data_ptr<float>();
  const int64_t length = input.numel(), step = loudness_step(state.rate);
  if (!state.begun && length > 0) {
    state.begun = true;
    state.gain = state.next_gain = first_gain(in, std::min(length, state.opening), state);
  }
  for (int64_t i = 0; i < length; ++i) {
    const double x = in[i], y = state.weighting.step(x);
    out[i] = static_cast<float>(std::tanh(state.gain * x));
    state.weighted += y * y;
    state.plain += x * x;
    state.gain *= state.growth;
    if (++state.place == step) end_step(state);
  }
  return output;
}

}  // namespace metavoice::ops
