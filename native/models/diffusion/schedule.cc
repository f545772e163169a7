#include "models/diffusion/schedule.h"

#include <cmath>

#include "core/error.h"

namespace metavoice::models::diffusion {

std::vector<double> cumulative_alphas(const ScheduleConfig& config) {
  const double first = std::pow(config.beta_start, 1 / config.exponent), last = std::pow(config.beta_end, 1 / config.exponent);
  std::vector<double> result;
  double product = 1;
  for (int64_t t = 0; t < config.steps; ++t) {
    const double share = config.steps > 1 ? static_cast<double>(t) / static_cast<double>(config.steps - 1) : 0;
    product *= 1 - std::pow(first + (last - first) * share, config.exponent);
    result.push_back(product);
  }
  return result;
}

std::vector<SamplerStep> sampler_steps(const ScheduleConfig& config, int64_t evaluations) {
  core::require(evaluations >= 1 && evaluations <= config.steps, "between one and all of the diffusion steps");
  const std::vector<double> alphas = cumulative_alphas(config);
  const auto step_at = [&](int64_t i) { return i == evaluations ? 0 : config.steps - 1 - i * config.steps / evaluations; };
  std::vector<SamplerStep> result;
  for (int64_t i = 0; i < evaluations; ++i) {
    const double here = alphas[static_cast<size_t>(step_at(i))], next = alphas[static_cast<size_t>(step_at(i + 1))];
    const double alpha = here / next;
    SamplerStep step;
    step.step = step_at(i);
    step.noise_share = alpha < 1 ? (1 - alpha) / std::sqrt(1 - here) : 0;
    step.gain = 1 / std::sqrt(alpha);
    // The last step adds no noise.
    if (i + 1 < evaluations) step.spread = std::sqrt((1 - next) / (1 - here) * (1 - alpha));
    result.push_back(step);
  }
  return result;
}

}  // namespace metavoice::models::diffusion
