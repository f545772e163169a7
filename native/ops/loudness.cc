#include "ops/loudness.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "core/error.h"

namespace metavoice::ops {

namespace {

constexpr double kAbsoluteGate = -70;  // LKFS
constexpr double kRelativeGate = -10;  // LU

double turn(double hertz, int64_t rate) {
  core::require(rate >= kLeastLoudnessRate, "a rate of at least 4,000 Hz to measure loudness");
  return 2 * std::numbers::pi * hertz / static_cast<double>(rate);
}

Biquad high_shelf(int64_t rate) {
  const double w = turn(1500, rate), alpha = std::sin(w) / std::numbers::sqrt2, a = std::pow(10, 4.0 / 40);
  const double root = 2 * std::sqrt(a) * alpha, minus = (a - 1) * std::cos(w), plus = (a + 1) * std::cos(w);
  const double a0 = (a + 1) - minus + root;
  return {a * ((a + 1) + minus + root) / a0, -2 * a * ((a - 1) + plus) / a0, a * ((a + 1) + minus - root) / a0,
          2 * ((a - 1) - plus) / a0, ((a + 1) - minus - root) / a0};
}

Biquad high_pass(int64_t rate) {
  const double w = turn(38, rate), alpha = std::sin(w), b = (1 + std::cos(w)) / 2, a0 = 1 + alpha;
  return {b / a0, -2 * b / a0, b / a0, -2 * std::cos(w) / a0, (1 - alpha) / a0};
}

double mean(const std::vector<double>& blocks, AssumedBlocks assumed) {
  const double sum = std::accumulate(blocks.begin(), blocks.end(), assumed.count * assumed.mean_square);
  return sum / (static_cast<double>(blocks.size()) + assumed.count);
}

// Mean squares of the K-weighted blocks.
std::vector<double> weighted_blocks(const at::Tensor& samples, int64_t rate) {
  const float* input = samples.data_ptr<float>();
  const int64_t length = samples.numel(), block = std::min(loudness_block(rate), length), step = loudness_step(rate);
  KWeighting weighting(rate);
  std::vector<double> squares(static_cast<size_t>(length));
  for (int64_t i = 0; i < length; ++i) {
    const double y = weighting.step(input[i]);
    squares[static_cast<size_t>(i)] = y * y;
  }
  std::vector<double> blocks;
  for (int64_t first = 0; first + block <= length; first += step)
    blocks.push_back(std::accumulate(squares.begin() + first, squares.begin() + first + block, 0.0) / static_cast<double>(block));
  return blocks;
}

}  // namespace

KWeighting::KWeighting(int64_t rate) : shelf_(high_shelf(rate)), high_pass_(high_pass(rate)) {}

int64_t loudness_block(int64_t rate) { return std::llround(0.4 * static_cast<double>(rate)); }

int64_t loudness_step(int64_t rate) { return std::llround(0.25 * static_cast<double>(loudness_block(rate))); }

double loudness_of(double mean_square) { return -0.691 + 10 * std::log10(mean_square); }

double mean_square_of(double loudness) { return std::pow(10, (loudness + 0.691) / 10); }

std::optional<double> gated_mean(std::vector<double> blocks, AssumedBlocks assumed) {
  std::erase_if(blocks, [](double block) { return !(loudness_of(block) > kAbsoluteGate); });
  if (blocks.empty() && assumed.count == 0) return std::nullopt;
  const double gate = loudness_of(mean(blocks, assumed)) + kRelativeGate;
  std::erase_if(blocks, [gate](double block) { return !(loudness_of(block) > gate); });
  return mean(blocks, assumed);
}

std::optional<double> integrated_loudness(const at::Tensor& samples, int64_t rate) {
  const at::Tensor input = samples.to(at::kCPU, at::kFloat).contiguous();
  if (input.numel() == 0) return std::nullopt;
  const std::optional<double> square = gated_mean(weighted_blocks(input, rate));
  if (!square) return std::nullopt;
  return loudness_of(*square);
}

at::Tensor normalize_loudness(const at::Tensor& samples, int64_t rate, double target) {
  if (samples.numel() == 0 || samples.to(at::kDouble).square().mean().item<double>() < kSilentRms * kSilentRms) return samples;
  const std::optional<double> loudness = integrated_loudness(samples, rate);
  if (!loudness) return samples;
  return at::tanh(samples * std::pow(10, (target - *loudness) / 20));
}

}  // namespace metavoice::ops
