#include "ops/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace metavoice::ops {

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kSmallestTemperature = 1e-5F;

void keep_top_k(std::vector<float>& logits, int64_t top_k) {
  if (top_k <= 0 || top_k >= static_cast<int64_t>(logits.size())) return;
  std::vector<float> sorted = logits;
  std::nth_element(sorted.begin(), sorted.begin() + (top_k - 1), sorted.end(), std::greater<>());
  const float threshold = sorted[static_cast<size_t>(top_k - 1)];
  for (float& value : logits)
    if (value < threshold) value = kMinusInfinity;
}

std::vector<float> softmax(const std::vector<float>& logits) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  std::vector<float> result(logits.size());
  double sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    result[i] = std::exp(logits[i] - largest);
    sum += result[i];
  }
  const auto scale = static_cast<float>(1.0 / sum);
  for (float& value : result) value *= scale;
  return result;
}

void keep_top_p(std::vector<float>& logits, float top_p) {
  if (top_p >= 1.0F) return;
  const std::vector<float> probabilities = softmax(logits);
  std::vector<int64_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  // Of equal entries the later one ranks higher, as after an ascending stable sort.
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a > b;
  });
  double above = 0;
  bool first = true;
  for (const int64_t index : order) {
    if (!first && above >= static_cast<double>(top_p)) logits[index] = kMinusInfinity;
    above += probabilities[index];
    first = false;
  }
}

}  // namespace

std::vector<float> guide(const float* logits, int64_t entries, const Guidance& guidance) {
  std::vector<float> result(static_cast<size_t>(entries));
  const float* conditional = logits;
  const float* no_speaker = logits + entries;
  if (guidance.rows() == 2) {
    for (int64_t i = 0; i < entries; ++i)
      result[i] = guidance.speaker * conditional[i] + (1.0F - guidance.speaker) * no_speaker[i];
    return result;
  }
  const float* no_prompt = logits + 2 * entries;
  for (int64_t i = 0; i < entries; ++i)
    result[i] = (guidance.speaker + guidance.prompt - 1.0F) * conditional[i] + (1.0F - guidance.speaker) * no_speaker[i] +
                (1.0F - guidance.prompt) * no_prompt[i];
  return result;
}

void mask_all_but(std::vector<float>& logits, const std::vector<Range>& allowed) {
  for (int64_t i = 0; i < static_cast<int64_t>(logits.size()); ++i) {
    const bool stays = std::any_of(allowed.begin(), allowed.end(),
                                   [i](const Range& range) { return i >= range.first && i < range.last; });
    if (!stays) logits[i] = kMinusInfinity;
  }
}

std::vector<float> distribution(std::vector<float> logits, const SamplingSettings& settings) {
  const float temperature = std::max(settings.temperature, kSmallestTemperature);
  for (float& value : logits) value /= temperature;
  keep_top_k(logits, settings.top_k);
  keep_top_p(logits, settings.top_p);
  return softmax(logits);
}

int64_t draw(const std::vector<float>& probabilities, double uniform) {
  double total = 0;
  for (const float value : probabilities) total += value;
  const double target = uniform * total;
  double sum = 0;
  int64_t last_possible = 0;
  for (size_t i = 0; i < probabilities.size(); ++i) {
    if (probabilities[i] <= 0.0F) continue;
    sum += probabilities[i];
    last_possible = static_cast<int64_t>(i);
    if (sum > target) break;
  }
  return last_possible;
}

int64_t arg_max(const float* values, int64_t entries) { return std::max_element(values, values + entries) - values; }

}  // namespace metavoice::ops
