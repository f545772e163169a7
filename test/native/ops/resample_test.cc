#include "ops/resample.h"

#include <doctest.h>

#include <numbers>

#include "support/compare.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

constexpr int64_t kTo = 16000;
// The last one shares no divisor with 16,000: its filters are made where they are used.
const std::vector<int64_t> kRates = {8000, 11025, 22050, 24000, 32000, 44100, 48000, 96000, 44099};

at::Tensor tone(double hertz, int64_t rate, int64_t samples, double phase = 0) {
  return at::sin(at::arange(samples, at::kDouble) * (2 * std::numbers::pi * hertz / static_cast<double>(rate)) + phase);
}

// Away from the edges, where the filter sees the zeros before and after the signal.
at::Tensor middle(const at::Tensor& samples) { return samples.narrow(0, samples.size(0) / 4, samples.size(0) / 2); }

double decibels(const at::Tensor& samples) { return 10 * std::log10(samples.to(at::kDouble).square().mean().item<double>() * 2 + 1e-30); }

}  // namespace

TEST_SUITE("ops/resample") {
  TEST_CASE("refuses rates that are none") {
    check_refused([] { ops::resample(at::ones({4}), 0, kTo); }, "ERR_INTERNAL", "positive sample rates");
    check_refused([] { ops::resample(at::ones({4}), 8000, -1); }, "ERR_INTERNAL", "positive sample rates");
  }

  TEST_CASE("the same rate changes nothing") {
    const at::Tensor samples = at::rand({1000});
    check_equal(ops::resample(samples, 44100, 44100), samples, "same rate");
  }

  TEST_CASE("there are ceil(n to / from) samples, whatever n") {
    for (const int64_t from : kRates) {
      for (const int64_t length : {0, 1, 2, 3, 7, 440, 441, 442, 1000}) {
        CAPTURE(from);
        CAPTURE(length);
        CHECK(ops::resample(at::ones({length}), from, kTo).size(0) == (length * kTo + from - 1) / from);
      }
    }
  }

  TEST_CASE("a tone inside the pass band comes out with its height and phase, aligned at the first sample") {
    for (const int64_t from : kRates) {
      const double nyquist = static_cast<double>(std::min(from, kTo)) / 2;
      for (const double share : {0.01, 0.1, 0.5, 0.8, 0.9, 0.91}) {
        const double hertz = share * nyquist;
        const at::Tensor found = ops::resample(tone(hertz, from, from / 2, 0.3).to(at::kFloat), from, kTo);
        const at::Tensor wanted = tone(hertz, kTo, found.size(0), 0.3);
        check_close(middle(found), middle(wanted), 1e-5, std::to_string(from) + " Hz, a tone of " + std::to_string(hertz) + " Hz");
      }
    }
  }

  TEST_CASE("a tone past the new Nyquist frequency is 100 dB down: no alias") {
    for (const int64_t from : {22050, 24000, 44100, 48000, 96000}) {
      for (const double share : {1.0 + 1e-3, 1.05, 1.2, 1.33}) {
        const double hertz = share * kTo / 2;
        const double level = decibels(middle(ops::resample(tone(hertz, from, from).to(at::kFloat), from, kTo)));
        CAPTURE(from);
        CAPTURE(hertz);
        CHECK(level < -100);
      }
    }
  }

  TEST_CASE("no image appears above the old Nyquist frequency") {
    for (const int64_t from : {8000, 11025}) {
      const double hertz = 0.9 * static_cast<double>(from) / 2;
      const at::Tensor found = ops::resample(tone(hertz, from, from).to(at::kFloat), from, kTo).to(at::kDouble);
      const at::Tensor window = at::hann_window(found.size(0), at::kDouble).square();
      const at::Tensor spectrum = at::abs(at::fft_rfft(found * window));
      const auto bin = static_cast<int64_t>(static_cast<double>(from) / 2 / kTo * static_cast<double>(found.size(0)));
      const double image = spectrum.narrow(0, bin, spectrum.size(0) - bin).max().item<double>() / spectrum.max().item<double>();
      CAPTURE(from);
      CHECK(20 * std::log10(image) < -100);
    }
  }

  TEST_CASE("a constant stays that constant") {
    for (const int64_t from : kRates) {
      const at::Tensor found = middle(ops::resample(at::full({from / 4}, 0.5F), from, kTo));
      check_close(found, at::full_like(found, 0.5F), 1e-6, std::to_string(from) + " Hz");
    }
  }

  TEST_CASE("a click stays where it is") {
    for (const int64_t from : {8000, 24000, 48000}) {
      at::Tensor samples = at::zeros({from});
      samples[from / 2] = 1;
      const at::Tensor found = ops::resample(samples, from, kTo);
      CHECK(found.argmax().item<int64_t>() == kTo / 2);
      // Linear phase: the same on both sides.
      check_close(found.narrow(0, kTo / 2 - 500, 500).flip({0}), found.narrow(0, kTo / 2 + 1, 500), 1e-6, "both sides");
    }
  }

  TEST_CASE("a signal there and back is the signal, in the pass band") {
    at::Tensor samples = at::zeros({48000}, at::kDouble);
    for (const double hertz : {100.0, 1234.5, 5000.0, 7200.0}) samples += 0.2 * tone(hertz, 48000, 48000);
    const at::Tensor back = ops::resample(ops::resample(samples.to(at::kFloat), 48000, kTo), kTo, 48000);
    check_close(middle(back), middle(samples), 1e-5, "there and back");
  }
}
