#include "ops/normal_draws.h"

#include <doctest.h>

#include <numbers>

#include "support/compare.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

const core::RandomKey kKey{(uint64_t{5} << 40) + 17, 3, 1};

// The same address through core::philox, one number at a time.
double plain_normal(const core::RandomKey& key, uint32_t lane, int64_t position) {
  const auto words = core::philox({static_cast<uint32_t>(position / 4), (uint32_t{3} << 24) | lane, key.segment, key.attempt},
                                  {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
  const int64_t pair = position % 4 / 2;
  const double radius = std::sqrt(-2 * std::log((words[2 * pair] + 1.0) * 0x1.0p-32)), angle = 2 * std::numbers::pi * words[2 * pair + 1] * 0x1.0p-32;
  return radius * (position % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

at::Tensor draws(int64_t lane, int64_t lanes, int64_t first, int64_t count, at::Device device = at::kCPU, core::RandomKey key = kKey) {
  return ops::normal_draws(key, core::Stream::diffusion, lane, lanes, first, count, device);
}

}  // namespace

TEST_SUITE("ops/normal_draws") {
  TEST_CASE("refuses addresses that are none") {
    check_refused([] { draws(-1, 1, 0, 1); }, "ERR_INTERNAL", "an address");
    check_refused([] { draws((1 << 24) - 1, 2, 0, 1); }, "ERR_INTERNAL", "an address");
    check_refused([] { draws(0, 1, -4, 1); }, "ERR_INTERNAL", "an address");
  }

  TEST_CASE("are the plain formula at every address, on every device") {
    for (const at::Device& device : devices())
      for (const auto& [lane, first] : {std::pair<int64_t, int64_t>{0, 0}, {4097, 3}, {(1 << 24) - 2, (int64_t{1} << 34) - 11}}) {
        const at::Tensor found = draws(lane, 2, first, 11, device);
        at::Tensor wanted = at::empty({2, 11}, at::kDouble);
        for (int64_t row = 0; row < 2; ++row)
          for (int64_t i = 0; i < 11; ++i) wanted[row][i] = plain_normal(kKey, static_cast<uint32_t>(lane + row), first + i);
        check_close(found, wanted, 1e-6, "lane " + std::to_string(lane) + " on " + device.str());
      }
  }

  TEST_CASE("are the same wherever one begins, bit for bit") {
    const at::Tensor whole = draws(7, 3, 0, 500);
    for (const auto& [first, count] : {std::pair{0, 1}, {1, 4}, {3, 200}, {255, 245}, {499, 1}})
      check_equal(draws(7, 3, first, count), whole.narrow(1, first, count), "from " + std::to_string(first));
    check_equal(draws(8, 1, 10, 20)[0], whole[1].narrow(0, 10, 20), "one lane");
  }

  TEST_CASE("every part of the address matters") {
    const at::Tensor one = draws(7, 1, 0, 64);
    for (const core::RandomKey& key : {core::RandomKey{kKey.seed + 1, 3, 1}, {kKey.seed + (uint64_t{1} << 32), 3, 1}, {kKey.seed, 4, 1}, {kKey.seed, 3, 2}})
      CHECK(difference(draws(7, 1, 0, 64, at::kCPU, key), one).worst > 0.1);
    CHECK(difference(draws(8, 1, 0, 64), one).worst > 0.1);
    CHECK(difference(draws(7, 1, 64, 64), one).worst > 0.1);
  }

  TEST_CASE("are normal: moments, tails, and no correlation of neighbours or lanes") {
    constexpr int64_t kCount = 200000;
    const at::Tensor x = draws(0, 2, 0, kCount).to(at::kDouble);
    const double tolerance = 5 / std::sqrt(static_cast<double>(2 * kCount));
    const auto mean = [](const at::Tensor& values) { return values.mean().item<double>(); };
    CHECK(std::abs(mean(x)) < tolerance);
    CHECK(std::abs(mean(x.square()) - 1) < tolerance * std::sqrt(2.0));
    CHECK(std::abs(mean(x.pow(3))) < tolerance * std::sqrt(15.0));
    CHECK(std::abs(mean(x.pow(4)) - 3) < tolerance * std::sqrt(96.0));
    CHECK(std::abs(mean((x.abs() > 2).to(at::kDouble)) - 0.0455003) < tolerance * 0.21);
    CHECK(std::abs(mean(x[0] * x[1])) < tolerance * std::sqrt(2.0));
    for (const int64_t apart : {1, 2, 3, 4})
      CHECK(std::abs(mean(x.narrow(1, 0, kCount - apart) * x.narrow(1, apart, kCount - apart))) < tolerance);
  }
}
