#include "models/diffusion/schedule.h"

#include <doctest.h>

#include <cmath>

#include "support/compare.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::models::diffusion;

namespace {

// The template of audiocraft 1.2.0.
const ScheduleConfig kTemplate{1000, 1e-5, 2.9e-2, 7.5, 1, 5};

std::vector<int64_t> step_numbers(const ScheduleConfig& config, int64_t evaluations) {
  std::vector<int64_t> result;
  for (const SamplerStep& step : sampler_steps(config, evaluations)) result.push_back(step.step);
  return result;
}

}  // namespace

TEST_SUITE("models/diffusion/schedule") {
  TEST_CASE("refuses no steps, and more than there are") {
    check_refused([] { sampler_steps(kTemplate, 0); }, "ERR_INTERNAL", "between one and all");
    check_refused([] { sampler_steps(kTemplate, 1001); }, "ERR_INTERNAL", "between one and all");
  }

  TEST_CASE("has the reference's noise levels") {
    const std::vector<double> alphas = cumulative_alphas(kTemplate);
    CHECK(alphas.size() == 1000);
    for (const auto& [step, value] : {std::pair{999, 5.18656e-3}, {949, 1.91093e-2}, {499, 0.8364705}, {99, 0.9979211}, {49, 0.99928546}, {0, 0.99999}})
      CHECK(alphas[static_cast<size_t>(step)] == doctest::Approx(value).epsilon(2e-5));
  }

  TEST_CASE("twenty steps are every fiftieth, with the reference's arithmetic") {
    const std::vector<SamplerStep> steps = sampler_steps(kTemplate, 20);
    REQUIRE(steps.size() == 20);
    for (size_t i = 0; i < steps.size(); ++i) CHECK(steps[i].step == 999 - 50 * static_cast<int64_t>(i));
    const auto check = [&](size_t i, double share, double gain, double spread) {
      CHECK(steps[i].noise_share == doctest::Approx(share).epsilon(2e-5));
      CHECK(steps[i].gain == doctest::Approx(gain).epsilon(2e-5));
      CHECK(steps[i].spread == doctest::Approx(spread).epsilon(2e-5));
    };
    check(0, 0.7304816, 1.9194769, 0.8475777);
    check(10, 0.1486131, 1.0314747, 0.2011018);
    check(19, 0.0263563, 1.0003525, 0);
  }

  TEST_CASE("other numbers of steps go evenly down") {
    CHECK(step_numbers(kTemplate, 1) == std::vector<int64_t>{999});
    CHECK(step_numbers(kTemplate, 4) == std::vector<int64_t>{999, 749, 499, 249});
    CHECK(step_numbers(kTemplate, 3) == std::vector<int64_t>{999, 666, 333});
    CHECK(step_numbers({10, 1e-4, 0.02, 7, 1, 0}, 10) == std::vector<int64_t>{9, 8, 7, 6, 5, 4, 3, 2, 1, 0});
  }

  TEST_CASE("every number is finite, whatever the schedule") {
    for (const ScheduleConfig& config : {kTemplate, ScheduleConfig{1, 1e-3, 0.5, 2, 1, 0}, ScheduleConfig{10, 0.02, 0.02, 1, 1, 0}})
      for (int64_t evaluations = 1; evaluations <= std::min<int64_t>(config.steps, 40); ++evaluations)
        for (const SamplerStep& step : sampler_steps(config, evaluations)) {
          CHECK(std::isfinite(step.noise_share));
          CHECK(std::isfinite(step.gain));
          CHECK(std::isfinite(step.spread));
        }
  }
}
