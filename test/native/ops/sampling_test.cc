#include "ops/sampling.h"

#include <doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/random.h"
#include "support/compare.h"
#include "support/fixtures.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

at::Tensor as_tensor(const std::vector<float>& values) { return at::tensor(values); }

std::vector<float> as_vector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kFloat).contiguous();
  return {flat.data_ptr<float>(), flat.data_ptr<float>() + flat.numel()};
}

int64_t kept(const std::vector<float>& probabilities) {
  return std::count_if(probabilities.begin(), probabilities.end(), [](float value) { return value > 0; });
}

std::vector<float> logs(std::vector<float> probabilities) {
  for (float& value : probabilities) value = std::log(value);
  return probabilities;
}

std::vector<float> with_top_p(const std::vector<float>& logits, float top_p) { return ops::distribution(logits, {1.0F, top_p, 0}); }

}  // namespace

TEST_SUITE("ops/sampling") {
  TEST_CASE("gives the golden probabilities and keeps as many entries") {
    const std::vector<float> logits = as_vector(golden("llm", "sampling.guided_logits"));
    const at::Tensor settings = golden("native", "sampling.settings");
    const std::vector<int64_t> counts = to_vector(numbers("sampling.kept"));
    for (int64_t i = 0; i < settings.size(0); ++i) {
      const ops::SamplingSettings wanted{settings[i][0].item<float>(), settings[i][1].item<float>(), settings[i][2].item<int64_t>()};
      const std::vector<float> found = ops::distribution(logits, wanted);
      const std::string name = "sampling." + std::to_string(i);
      check_close(as_tensor(found), golden("llm", name), kProbabilityTolerance, name);
      CAPTURE(name);
      CHECK(kept(found) == counts[static_cast<size_t>(i)]);
    }
  }

  TEST_CASE("guides two branches: g c + (1 - g) u") {
    const float rows[] = {1, 2, 3, 0.5F, -1, 4};
    CHECK(ops::Guidance{3, 1}.rows() == 2);
    CHECK(ops::guide(rows, 3, {3, 1}) == std::vector<float>{2, 8, 1});
    CHECK(ops::guide(rows, 3, {1, 1}) == std::vector<float>{1, 2, 3});
    CHECK(ops::guide(rows, 3, {0, 1}) == std::vector<float>{0.5F, -1, 4});
    CHECK(ops::guide(rows, 3, {0.5F, 1}) == std::vector<float>{0.75F, 0.5F, 3.5F});
  }

  TEST_CASE("guides three branches: (s + p - 1) c + (1 - s) u_speaker + (1 - p) u_prompt") {
    const float rows[] = {1, 2, 0.5F, -1, 10, 20};
    CHECK(ops::Guidance{3, 2}.rows() == 3);
    CHECK(ops::guide(rows, 2, {3, 2}) == std::vector<float>{4 * 1 - 2 * 0.5F - 10, 4 * 2 + 2 - 20});
    // A prompt guidance of 1 or less has no third branch to read.
    CHECK(ops::Guidance{3, 0.5F}.rows() == 2);
  }

  TEST_CASE("three branches give the golden guided logits") {
    const at::Tensor rows = golden("llm", "first.three_branch").contiguous();
    const std::vector<float> found = ops::guide(rows.data_ptr<float>(), rows.size(1), {3, 2});
    check_close(as_tensor(found), golden("llm", "first.three_branch_guided").view({-1}), logit_tolerance(at::kFloat), "guided");
  }

  TEST_CASE("top-p keeps an entry while the mass above it is below top-p") {
    const std::vector<float> logits = logs({0.5F, 0.25F, 0.25F});
    CHECK(kept(with_top_p(logits, 0.75F)) == 2);
    CHECK(kept(with_top_p(logits, 0.76F)) == 3);
    CHECK(kept(with_top_p(logits, 0.5F)) == 1);
    CHECK(kept(with_top_p(logits, 0.51F)) == 2);
    CHECK(kept(with_top_p(logits, 1.0F)) == 3);
  }

  TEST_CASE("top-p of two equal entries drops the earlier one, as an ascending stable sort does") {
    const std::vector<float> found = with_top_p(logs({0.5F, 0.25F, 0.25F}), 0.75F);
    CHECK(found[1] == 0);
    CHECK(found[2] == doctest::Approx(1.0 / 3));
  }

  TEST_CASE("top-p 0 is greedy, whatever the temperature") {
    const std::vector<float> logits = {0.1F, 3.0F, 2.9F, -1.0F};
    for (const float temperature : {1e-9F, 1.0F, 100.0F})
      CHECK(ops::distribution(logits, {temperature, 0.0F, 0}) == std::vector<float>{0, 1, 0, 0});
  }

  TEST_CASE("top-k keeps ties with its last entry") {
    const std::vector<float> logits = {2, 1, 3, 1, 1, 0};
    CHECK(kept(ops::distribution(logits, {1, 1, 1})) == 1);
    CHECK(kept(ops::distribution(logits, {1, 1, 2})) == 2);
    CHECK(kept(ops::distribution(logits, {1, 1, 3})) == 5);
    CHECK(kept(ops::distribution(logits, {1, 1, 5})) == 5);
    CHECK(kept(ops::distribution(logits, {1, 1, 6})) == 6);
    CHECK(kept(ops::distribution(logits, {1, 1, 600})) == 6);
    CHECK(kept(ops::distribution(logits, {1, 1, 0})) == 6);
  }

  TEST_CASE("top-k comes before top-p") {
    // Of 0.4, 0.3, 0.2, 0.1 the first two become 4/7 and 3/7, and 4/7 reaches 0.57 alone.
    const std::vector<float> logits = logs({0.4F, 0.3F, 0.2F, 0.1F});
    CHECK(kept(ops::distribution(logits, {1, 0.57F, 2})) == 1);
    CHECK(kept(ops::distribution(logits, {1, 0.57F, 0})) == 2);
  }

  TEST_CASE("temperature comes before both") {
    const std::vector<float> logits = logs({0.6F, 0.4F});
    const std::vector<float> found = ops::distribution(logits, {0.5F, 1, 0});
    CHECK(found[0] == doctest::Approx(0.36 / 0.52));
    CHECK(kept(ops::distribution(logits, {0.5F, 0.65F, 0})) == 1);
    CHECK(kept(ops::distribution(logits, {1.0F, 0.65F, 0})) == 2);
  }

  TEST_CASE("a temperature of 0 is the smallest one, and does not overflow") {
    const std::vector<float> found = ops::distribution({1000, 999.99F, -1000}, {0, 1, 0});
    CHECK(found[0] == 1);
    CHECK(kept(found) == 1);
  }

  TEST_CASE("probabilities sum to one, over thousands of entries of any size") {
    const std::vector<float> logits = as_vector(at::linspace(-90, 90, 2562));
    for (const ops::SamplingSettings& settings : {ops::SamplingSettings{1, 1, 0}, {0.3F, 0.9F, 0}, {50, 0.5F, 100}}) {
      double sum = 0;
      for (const float value : ops::distribution(logits, settings)) sum += value;
      CHECK(sum == doctest::Approx(1).epsilon(1e-6));
    }
  }

  TEST_CASE("masked entries have no probability, and take no part in top-k or top-p") {
    std::vector<float> logits = {9, 1, 9, 2, 3};
    ops::mask_all_but(logits, {{1, 2}, {3, 5}});
    CHECK(logits == std::vector<float>{-kInfinity, 1, -kInfinity, 2, 3});
    CHECK(kept(ops::distribution(logits, {1, 1, 0})) == 3);
    CHECK(kept(ops::distribution(logits, {1, 1, 2})) == 2);
    CHECK(kept(ops::distribution(logits, {1, 1, 4})) == 3);
    CHECK(kept(ops::distribution(logits, {1, 0, 0})) == 1);
    ops::mask_all_but(logits, {{4, 5}});
    CHECK(ops::distribution(logits, {0.1F, 0.5F, 3}) == std::vector<float>{0, 0, 0, 0, 1});
  }

  TEST_CASE("logits that are not numbers draw something inside the range, or are refused: never a crash") {
    for (uint32_t round = 0; round < 300; ++round) {
      const auto number = [&](size_t i, uint32_t lane) { return core::uniform({round, 0, 0}, core::Stream::first_stage, lane, static_cast<uint32_t>(i)); };
      const double share = number(0, 2);
      std::vector<float> logits(400);
      for (size_t i = 0; i < logits.size(); ++i) {
        const double which = number(i, 0);
        logits[i] = which < share / 2 ? std::nanf("") : which < share * 0.6 ? kInfinity : which < share * 0.7 ? -kInfinity : static_cast<float>(number(i, 1));
      }
      for (const ops::SamplingSettings& settings : {ops::SamplingSettings{1, 0.9F, 0}, {1, 1, 200}, {1, 0.5F, 20}}) {
        try {
          const int64_t id = ops::draw(ops::distribution(logits, settings), 0.5);
          REQUIRE(id >= 0);
          REQUIRE(id < 400);
        } catch (const core::Error& error) {
          REQUIRE(error.code() == "ERR_NUMERIC");
        }
      }
    }
  }

  TEST_CASE("the draw inverts the cumulative distribution") {
    const std::vector<float> probabilities = {0, 0.25F, 0, 0.5F, 0.25F, 0};
    CHECK(ops::draw(probabilities, 0) == 1);
    CHECK(ops::draw(probabilities, 0.2499) == 1);
    CHECK(ops::draw(probabilities, 0.25) == 3);
    CHECK(ops::draw(probabilities, 0.7499) == 3);
    CHECK(ops::draw(probabilities, 0.75) == 4);
    CHECK(ops::draw(probabilities, 1 - 0x1.0p-53) == 4);
    // A sum that rounding left short of one loses nothing.
    CHECK(ops::draw({0.1F, 0.1F, 0.1F}, 0.9999) == 2);
    CHECK(ops::draw({1.0F}, 0.5) == 0);
  }

  TEST_CASE("draws come as often as their probabilities say") {
    const std::vector<float> probabilities = {0.5F, 0, 0.3F, 0.15F, 0.04F, 0.01F};
    constexpr int kDraws = 40000;
    std::vector<int> counts(probabilities.size(), 0);
    for (uint32_t i = 0; i < kDraws; ++i)
      ++counts[static_cast<size_t>(ops::draw(probabilities, core::uniform({99, 0, 0}, core::Stream::first_stage, 0, i)))];
    CHECK(counts[1] == 0);
    for (size_t i = 0; i < probabilities.size(); ++i) {
      const double p = probabilities[i], spread = std::sqrt(kDraws * p * (1 - p));
      CAPTURE(i);
      CHECK(std::abs(counts[i] - kDraws * p) <= 5 * spread);
    }
  }

  TEST_CASE("arg max takes the first of equals") {
    const float values[] = {1, 3, 3, -kInfinity};
    CHECK(ops::arg_max(values, 4) == 1);
    CHECK(ops::arg_max(values + 3, 1) == 0);
  }
}
