#include "ops/mel.h"

#include <doctest.h>

#include <numbers>

#include "support/compare.h"
#include "support/fixtures.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

at::Tensor tone(double hertz, int64_t samples, double rate = 16000) {
  return at::sin(at::arange(samples, at::kDouble) * (2 * std::numbers::pi * hertz / rate)).to(at::kFloat);
}

at::Tensor spectrogram(const at::Tensor& samples) {
  const ops::MelSettings settings;
  return ops::mel_spectrogram(samples, ops::mel_filters(settings).to(samples.device()), settings);
}

}  // namespace

TEST_SUITE("ops/mel") {
  TEST_CASE("the filters have the sums of Slaney's scale and normalisation") {
    const at::Tensor filters = ops::mel_filters({});
    CHECK(filters.sizes() == at::IntArrayRef({40, 201}));
    const at::Tensor sums = filters.sum(1);
    for (const int64_t row : {0, 1, 10}) CHECK(sums[row].item<float>() == doctest::Approx(0.024809).epsilon(2e-5));
    CHECK(sums[20].item<float>() == doctest::Approx(0.025220).epsilon(2e-5));
    CHECK(sums[39].item<float>() == doctest::Approx(0.024979).epsilon(2e-5));
    CHECK((filters > 0).sum(1).min().item<int64_t>() >= 3);
    CHECK(filters.min().item<float>() == 0);
  }

  TEST_CASE("a tone of 440 Hz lies in bands 5 and 6") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      const at::Tensor mel = spectrogram(tone(440, 16000).to(device)).cpu();
      REQUIRE(mel.sizes() == at::IntArrayRef({101, 40}));
      CHECK(mel[50].argmax().item<int64_t>() == 5);
      CHECK(mel[50][5].item<float>() == doctest::Approx(164.311).epsilon(1e-5));
      CHECK(mel[50][6].item<float>() == doctest::Approx(17.819).epsilon(1e-4));
    }
  }

  TEST_CASE("it is the plain formula: zero padding, periodic Hann, power of the discrete Fourier transform") {
    const at::Tensor samples = at::sin(at::arange(0, 700, at::kDouble).square() * 1e-3);
    const at::Tensor mel = spectrogram(samples.to(at::kFloat)), filters = ops::mel_filters({}).to(at::kDouble);
    REQUIRE(mel.size(0) == 1 + 700 / 160);
    const double* x = samples.data_ptr<double>();
    at::Tensor power = at::zeros({mel.size(0), 201}, at::kDouble);
    for (int64_t frame = 0; frame < mel.size(0); ++frame) {
      for (int64_t bin = 0; bin <= 200; ++bin) {
        double real = 0, imaginary = 0;
        for (int64_t i = 0; i < 400; ++i) {
          const int64_t at = frame * 160 + i - 200;
          if (at < 0 || at >= 700) continue;
          const double value = x[at] * (0.5 - 0.5 * std::cos(2 * std::numbers::pi * i / 400)), angle = -2 * std::numbers::pi * bin * i / 400;
          real += value * std::cos(angle);
          imaginary += value * std::sin(angle);
        }
        power[frame][bin] = real * real + imaginary * imaginary;
      }
    }
    check_close(mel, at::matmul(power, filters.t()), kSpectrumTolerance, "mel");
  }

  TEST_CASE("there is one frame more than whole hops") {
    for (const int64_t samples : {1, 159, 160, 161, 320, 399}) CHECK(spectrogram(at::ones({samples})).size(0) == 1 + samples / 160);
  }

  TEST_CASE("the trim gives the golden range") {
    const at::Tensor samples = wav_samples("speaker_16k.wav");
    const auto [start, end] = ops::trim_silence(samples, 20);
    CHECK(std::vector<int64_t>{start, end} == to_vector(numbers("speaker.trim")));
  }

  TEST_CASE("the trim keeps a burst with whole frames around it, and cuts what is 20 dB below it") {
    at::Tensor samples = at::zeros({20000});
    samples.narrow(0, 8192, 4096) = tone(1000, 4096);
    samples.narrow(0, 16000, 2000) = tone(1000, 2000) * 0.05;
    const auto [start, end] = ops::trim_silence(samples, 20);
    CHECK(start % 512 == 0);
    CHECK(start > 8192 - 2048);
    CHECK(start <= 8192);
    CHECK(end >= 8192 + 4096);
    CHECK(end < 16000);
    // With 30 dB the quiet one stays, too.
    CHECK(ops::trim_silence(samples, 30).second > 16000);
  }

  TEST_CASE("a signal without pauses stays whole, also one shorter than a frame") {
    for (const int64_t length : {1, 100, 2048, 5000}) {
      CAPTURE(length);
      CHECK(ops::trim_silence(at::ones({length}), 20) == std::pair<int64_t, int64_t>{0, length});
    }
  }

  TEST_CASE("nothing and silence have an empty range") {
    for (const int64_t length : {0, 1, 5000}) {
      const auto [start, end] = ops::trim_silence(at::zeros({length}), 20);
      CHECK(start == end);
    }
  }
}
