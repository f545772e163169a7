#include "ops/band_split.h"

#include <doctest.h>

#include <numbers>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

// The filters as a plain correlation, in double.
at::Tensor plain_split(const at::Tensor& extended, const ops::BandFilters& filters) {
  const at::Tensor windows = extended.to(at::kDouble).unfold(0, filters.lowpass.size(1), 1);  // [n, taps]
  const at::Tensor low = at::matmul(filters.lowpass.cpu().to(at::kDouble), windows.t());
  std::vector<at::Tensor> bands = {low[0]};
  for (int64_t k = 1; k < low.size(0); ++k) bands.push_back(low[k] - low[k - 1]);
  bands.push_back(extended.to(at::kDouble).narrow(0, filters.half, low.size(1)) - low[low.size(0) - 1]);
  return at::stack(bands);
}

at::Tensor tone(double hertz, int64_t rate, int64_t samples) {
  return at::sin(at::arange(samples, at::kDouble) * (2 * std::numbers::pi * hertz / static_cast<double>(rate))).to(at::kFloat);
}

}  // namespace

TEST_SUITE("ops/band_split") {
  TEST_CASE("refuses what is no split") {
    check_refused([] { ops::mel_bands(1, 24000, at::kCPU); }, "ERR_INTERNAL", "at least two bands");
    const ops::BandFilters filters = ops::mel_bands(4, 8000, at::kCPU);
    check_refused([&] { ops::split_bands(at::zeros({2 * filters.half}), filters); }, "ERR_INTERNAL", "with its neighbours");
    check_refused([&] { ops::gain_filter(at::ones({3}), filters); }, "ERR_INTERNAL", "a gain for each band");
  }

  // Lengths and centre taps of the filters of julius 0.2.7 at 24 kHz.
  TEST_CASE("has the known filters") {
    for (const auto& [bands, half, centre] : {std::tuple{8, 314, 0.025463767}, {32, 1446, 0.005528875}}) {
      const ops::BandFilters filters = ops::mel_bands(bands, 24000, at::kCPU);
      CHECK(filters.bands() == bands);
      CHECK(filters.half == half);
      CHECK(filters.lowpass.sizes() == at::IntArrayRef({bands - 1, 2 * half + 1}));
      CHECK(filters.lowpass[0][half].item<double>() == doctest::Approx(centre).epsilon(1e-6));
      check_close(filters.lowpass.sum(1), at::ones({bands - 1}), 1e-5, "sums");
    }
  }

  TEST_CASE("is the plain formula at lengths below, at and above a block, and the bands add up to the signal") {
    for (const at::Device& device : devices()) {
      for (const auto& [bands, rate] : {std::pair{8, 24000}, {5, 8000}, {2, 16000}}) {
        const ops::BandFilters filters = ops::mel_bands(bands, rate, device);
        for (const int64_t length : {1, 7, 320, 5000}) {
          const at::Tensor samples = Numbers(11).normal({length}, 1);
          const at::Tensor extended = ops::extend_ends(samples, filters.half);
          const at::Tensor found = ops::split_bands(extended.to(device), filters);
          const std::string name = std::to_string(bands) + " bands of " + std::to_string(length) + " on " + device.str();
          check_close(found, plain_split(extended, filters), 1e-5, name);
          check_close(found.sum(0), samples, 1e-5, "sum of " + name);
        }
      }
    }
  }

  TEST_CASE("pieces with their neighbours are the whole") {
    const ops::BandFilters filters = ops::mel_bands(32, 24000, at::kCPU);
    const at::Tensor extended = ops::extend_ends(Numbers(12).normal({20000}, 1), filters.half);
    const at::Tensor whole = ops::split_bands(extended, filters);
    int64_t first = 0;
    for (const int64_t length : {1, 319, 6080, 13600}) {
      const at::Tensor piece = ops::split_bands(extended.narrow(0, first, length + 2 * filters.half), filters);
      check_close(piece, whole.narrow(1, first, length), 1e-5, "piece at " + std::to_string(first));
      first += length;
    }
    CHECK(first == 20000);
  }

  TEST_CASE("a tone is in its band") {
    const ops::BandFilters filters = ops::mel_bands(8, 24000, at::kCPU);
    const std::vector<double> middles = {100, 525, 1060, 1830, 2930, 4520, 6800, 10000};
    for (size_t k = 0; k < middles.size(); ++k) {
      const at::Tensor bands = ops::split_bands(ops::extend_ends(tone(middles[k], 24000, 12000), filters.half), filters);
      const at::Tensor power = bands.narrow(1, 3000, 6000).square().mean(1);
      CHECK(power[static_cast<int64_t>(k)].item<double>() / power.sum().item<double>() > 0.99);
    }
  }

  TEST_CASE("one filter of gains is the sum of gain times band") {
    for (const at::Device& device : devices()) {
      for (const int64_t bands : {2, 8, 32}) {
        const ops::BandFilters filters = ops::mel_bands(bands, 24000, device);
        const at::Tensor gains = Numbers(13).normal({bands}, 1).abs().to(device);
        const at::Tensor extended = ops::extend_ends(Numbers(14).normal({4000}, 1).to(device), filters.half);
        const at::Tensor wanted = at::matmul(gains, ops::split_bands(extended, filters));
        check_close(ops::apply_filter(extended, ops::gain_filter(gains, filters)), wanted, 2e-5, std::to_string(bands) + " bands on " + device.str());
        const at::Tensor same = ops::apply_filter(extended, ops::gain_filter(at::ones({bands}, gains.options()), filters));
        check_close(same, extended.narrow(0, filters.half, 4000), 1e-5, "gains of 1");
      }
    }
  }
}
