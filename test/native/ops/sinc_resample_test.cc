#include "ops/sinc_resample.h"

#include <doctest.h>

#include <numbers>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

at::Tensor in_pieces(const ops::SincResampler& resampler, const at::Tensor& samples, const std::vector<int64_t>& pieces) {
  auto state = resampler.begin();
  std::vector<float> out;
  int64_t first = 0;
  for (const int64_t length : pieces) {
    resampler.push(samples.const_data_ptr<float>() + first, length, state, out);
    first += length;
  }
  resampler.finish(state, out);
  return at::tensor(out);
}

at::Tensor whole(const ops::SincResampler& resampler, const at::Tensor& samples) { return in_pieces(resampler, samples, {samples.size(0)}); }

// The formula once more, in float64: torchaudio's `sinc_interp_hann` with its defaults.
at::Tensor plain_resample(const at::Tensor& samples, int64_t down, int64_t up) {
  const double base = 0.99 * static_cast<double>(std::min(down, up));
  const int64_t length = samples.size(0), wanted = (length * up + down - 1) / down;
  const at::Tensor x = samples.to(at::kDouble);
  at::Tensor out = at::zeros({wanted}, at::kDouble);
  for (int64_t n = 0; n < wanted; ++n)
    for (int64_t i = 0; i < length; ++i) {
      const double t = (static_cast<double>(i) / static_cast<double>(down) - static_cast<double>(n) / static_cast<double>(up)) * base;
      if (std::abs(t) >= 16) continue;
      const double sinc = t == 0 ? 1 : std::sin(std::numbers::pi * t) / (std::numbers::pi * t);
      out[n] += x[i] * sinc * std::pow(std::cos(std::numbers::pi * t / 32), 2) * base / static_cast<double>(down);
    }
  return out;
}

}  // namespace

TEST_SUITE("ops/sinc_resample") {
  TEST_CASE("has the filters of the specification from 24 to 48 kHz") {
    const ops::SincResampler resampler(24000, 48000);
    at::Tensor pulse = at::zeros({41});
    pulse[20] = 1;
    const at::Tensor found = whole(resampler, pulse);
    check_close(found.slice(0, 36, 45, 2), at::tensor({-0.00962052, 0.00990418, 0.99000001, 0.00990418, -0.00962052}), 1e-6, "phase 0");
    // Output 2n + 1 lies half a sample behind input n: taps -2 … 2 of a pulse are the outputs of inputs 2 … -2 away.
    check_close(found.slice(0, 37, 46, 2).flip({0}), at::tensor({0.11958369, -0.20749748, 0.63503909, 0.63503909, -0.20749748}), 1e-6, "phase 1");
    check_close(found.slice(0, 0, 82, 2).sum().view({1}), at::tensor(1.0000123), 1e-6, "sum of phase 0");
    check_close(found.slice(0, 1, 82, 2).sum().view({1}), at::tensor(1.0000378), 1e-6, "sum of phase 1");
  }

  TEST_CASE("is the plain formula, for other rates, too") {
    for (const auto& [down, up] : {std::pair<int64_t, int64_t>{1, 2}, {1, 3}, {2, 3}, {147, 160}, {3, 2}}) {
      const at::Tensor samples = Numbers(5).normal({47}, 0.5);
      check_close(whole(ops::SincResampler(down * 100, up * 100), samples), plain_resample(samples, down, up), 2e-6, std::to_string(down) + " to " + std::to_string(up));
    }
  }

  TEST_CASE("pieces of any length are the whole, bit for bit") {
    for (const auto& [from, to] : {std::pair<int64_t, int64_t>{24000, 48000}, {44100, 48000}, {16000, 48000}}) {
      const ops::SincResampler resampler(from, to);
      const at::Tensor samples = Numbers(6).normal({1203}, 0.5), wanted = whole(resampler, samples);
      CHECK(wanted.size(0) == (1203 * to + from - 1) / from);
      check_equal(in_pieces(resampler, samples, std::vector<int64_t>(1203, 1)), wanted, "one by one");
      check_equal(in_pieces(resampler, samples, {0, 7, 500, 0, 3, 600, 93}), wanted, "pieces");
    }
  }

  TEST_CASE("nothing gives nothing, one sample its share; rates must be rates") {
    const ops::SincResampler resampler(24000, 48000);
    CHECK(whole(resampler, at::empty({0})).size(0) == 0);
    CHECK(whole(resampler, at::ones({1})).size(0) == 2);
    CHECK(whole(ops::SincResampler(48000, 44100), at::ones({1})).size(0) == 1);
    check_refused([] { ops::SincResampler{0, 48000}; }, "ERR_INTERNAL", "positive sample rates");
  }

  TEST_CASE("rates with hardly a divisor in common are refused before a table of them is made") {
    check_refused([] { ops::SincResampler(44101, 48000); }, "ERR_UNSUPPORTED", "more in common with 48000 Hz but received 44101 Hz");
    for (const int64_t rate : {8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000}) CHECK_NOTHROW(ops::SincResampler(rate, 48000));
  }
}
