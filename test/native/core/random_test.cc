#include "core/random.h"

#include <doctest.h>

#include <cmath>
#include <set>
#include <vector>

using namespace metavoice;
using core::RandomKey;
using core::Stream;

TEST_SUITE("core/random") {
  // Known answers of the authors' library (Random123, kat_vectors, philox4x32 10).
  TEST_CASE("Philox 4x32-10 gives the known answers") {
    using Words = std::array<uint32_t, 4>;
    CHECK(core::philox({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(core::philox({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
          Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    CHECK(core::philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
          Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  }

  TEST_CASE("an address gives one number, in [0, 1)") {
    const RandomKey key{7, 1, 2};
    for (uint32_t position = 0; position < 10000; ++position) {
      const double value = core::uniform(key, Stream::first_stage, 0, position);
      REQUIRE(value >= 0.0);
      REQUIRE(value < 1.0);
      REQUIRE(value == core::uniform(key, Stream::first_stage, 0, position));
    }
  }

  TEST_CASE("every part of the address matters") {
    const RandomKey key{7, 1, 2};
    const std::vector<double> values = {
        core::uniform(key, Stream::first_stage, 3, 9),
        core::uniform(key, Stream::second_stage, 3, 9),
        core::uniform(key, Stream::diffusion, 3, 9),
        core::uniform(key, Stream::first_stage, 4, 9),
        core::uniform(key, Stream::first_stage, 3, 10),
        core::uniform({8, 1, 2}, Stream::first_stage, 3, 9),
        core::uniform({7 + (uint64_t{1} << 32), 1, 2}, Stream::first_stage, 3, 9),
        core::uniform({7, 2, 2}, Stream::first_stage, 3, 9),
        core::uniform({7, 1, 3}, Stream::first_stage, 3, 9),
    };
    CHECK(std::set<double>(values.begin(), values.end()).size() == values.size());
  }

  TEST_CASE("numbers are uniform, and neighbours are independent") {
    constexpr int kDraws = 100000, kBins = 16;
    for (const uint32_t lane : {0U, 5U}) {
      std::vector<int> pairs(kBins * kBins, 0);
      double sum = 0;
      double before = core::uniform({1234, 0, 0}, Stream::second_stage, lane, 0);
      for (uint32_t position = 1; position <= kDraws; ++position) {
        const double value = core::uniform({1234, 0, 0}, Stream::second_stage, lane, position);
        ++pairs[static_cast<size_t>(before * kBins) * kBins + static_cast<size_t>(value * kBins)];
        sum += value;
        before = value;
      }
      CHECK(std::abs(sum / kDraws - 0.5) < 5 * std::sqrt(1.0 / 12 / kDraws));
      double chi = 0;
      constexpr double kExpected = static_cast<double>(kDraws) / (kBins * kBins);
      for (const int count : pairs) chi += (count - kExpected) * (count - kExpected) / kExpected;
      // 255 degrees of freedom, five standard deviations.
      CHECK(std::abs(chi - 255) < 5 * std::sqrt(2.0 * 255));
    }
  }

  TEST_CASE("numbers of two lanes or two segments are independent") {
    constexpr int kDraws = 50000;
    const auto correlation = [](auto&& first, auto&& second) {
      double sum = 0;
      for (uint32_t position = 0; position < kDraws; ++position) sum += (first(position) - 0.5) * (second(position) - 0.5);
      return sum * 12 / kDraws;
    };
    const auto at_lane = [](uint32_t lane, uint32_t segment) {
      return [=](uint32_t position) { return core::uniform({3, segment, 0}, Stream::second_stage, lane, position); };
    };
    CHECK(std::abs(correlation(at_lane(0, 0), at_lane(1, 0))) < 5 / std::sqrt(double{kDraws}));
    CHECK(std::abs(correlation(at_lane(0, 0), at_lane(0, 1))) < 5 / std::sqrt(double{kDraws}));
  }
}
