#include "ops/running_loudness.h"

#include <doctest.h>

#include <cmath>
#include <numbers>
#include <random>

#include "support/compare.h"

using namespace metavoice;
using namespace metavoice::testing;
using ops::RunningLoudness;

namespace {

constexpr int64_t kRate = 16000;
constexpr int64_t kOpening = 4053;

double decibels(double ratio) { return 20 * std::log10(ratio); }

// Noise of the colour of speech in syllables, four a second, and words with rests between them.
at::Tensor speech(double seconds, double loudness, uint64_t seed, double rest = 0) {
  at::manual_seed(seed);
  const auto length = static_cast<int64_t>(seconds * kRate);
  const at::Tensor t = at::arange(length, at::kDouble) / static_cast<double>(kRate);
  const at::Tensor syllables = 0.55 - 0.45 * at::cos(2 * std::numbers::pi * 4 * t);
  const at::Tensor words = rest > 0 ? (at::fmod(t, 2.0) < 2 - rest).to(at::kDouble) : at::ones_like(t);
  const at::Tensor noise = at::randn({length + 2}, at::kDouble);
  const at::Tensor coloured = noise.narrow(0, 0, length) + noise.narrow(0, 1, length) + noise.narrow(0, 2, length);
  const at::Tensor samples = (0.05 * coloured * syllables * words).to(at::kFloat);
  const double found = *ops::integrated_loudness(samples, kRate);
  return samples * std::pow(10, (loudness - found) / 20);
}

at::Tensor run(const at::Tensor& samples, double target = -14, int64_t opening = kOpening) {
  RunningLoudness state(kRate, target, opening);
  return ops::normalize_loudness(samples, state);
}

at::Tensor run_in_pieces(const at::Tensor& samples, const std::function<int64_t()>& length) {
  RunningLoudness state(kRate, -14, kOpening);
  std::vector<at::Tensor> pieces;
  for (int64_t at = 0; at < samples.numel();) {
    const int64_t count = std::min(at == 0 ? kOpening : length(), samples.numel() - at);
    pieces.push_back(ops::normalize_loudness(samples.narrow(0, at, count), state));
    at += count;
  }
  return at::cat(pieces);
}

// The gain at the end of each 10 ms.
std::vector<double> gains(const at::Tensor& samples) {
  RunningLoudness state(kRate, -14, kOpening);
  std::vector<double> found;
  ops::normalize_loudness(samples.narrow(0, 0, kOpening), state);
  for (int64_t at = kOpening; at + kRate / 100 <= samples.numel(); at += kRate / 100) {
    ops::normalize_loudness(samples.narrow(0, at, kRate / 100), state);
    found.push_back(state.gain);
  }
  return found;
}

double whole_gain(const at::Tensor& samples) { return -14 - *ops::integrated_loudness(samples, kRate); }

}  // namespace

TEST_SUITE("ops/running_loudness") {
  TEST_CASE("pieces of any size give the bits of the whole") {
    const at::Tensor samples = speech(3, -27, 1, 0.7);
    const at::Tensor wanted = run(samples);
    check_equal(run_in_pieces(samples, [] { return 1; }), wanted, "samples");
    std::mt19937 random(2);
    check_equal(run_in_pieces(samples, [&] { return static_cast<int64_t>(random() % 5000) + 1; }), wanted, "pieces");
  }

  TEST_CASE("listens ten minutes back and no further, however long a speech is") {
    RunningLoudness state(4000, -14, 1000);
    const at::Tensor minute = 0.1 * at::randn({60 * 4000});
    for (int i = 0; i < 9; ++i) ops::normalize_loudness(minute, state);
    CHECK(state.heard.size() == 5400);
    for (int i = 0; i < 3; ++i) ops::normalize_loudness(0.5 * minute, state);
    CHECK(state.heard.size() == 6000);
    // Half as loud for ten minutes: nothing is left of what was before.
    for (int i = 0; i < 8; ++i) ops::normalize_loudness(0.5 * minute, state);
    RunningLoudness softer(4000, -14, 1000);
    ops::normalize_loudness(0.5 * minute, softer);
    CHECK(decibels(state.gain / softer.gain) == doctest::Approx(0).epsilon(0.1));
  }

  TEST_CASE("what went out does not depend on what follows the opening") {
    const at::Tensor samples = speech(4, -25, 3);
    for (const int64_t length : {kOpening, int64_t{4800}, int64_t{20011}, int64_t{48000}}) {
      const at::Tensor head = samples.narrow(0, 0, length);
      const at::Tensor other = at::cat({head, 5 * speech(1, -20, 4)});
      check_equal(run(head), run(samples).narrow(0, 0, length), "a beginning");
      check_equal(run(other).narrow(0, 0, length), run(samples).narrow(0, 0, length), "another end");
    }
  }

  TEST_CASE("the gain rises by 6 dB a second at most, and falls by 12, whatever comes") {
    const at::Tensor samples =
        at::cat({speech(1, -38, 5), speech(1, -8, 6), at::zeros({kRate}), speech(1, -50, 7), speech(2, -12, 8), speech(3, -60, 9)});
    const std::vector<double> found = gains(samples);
    double rise = 0, fall = 0;
    for (size_t i = 1; i < found.size(); ++i) {
      rise = std::max(rise, decibels(found[i] / found[i - 1]));
      fall = std::min(fall, decibels(found[i] / found[i - 1]));
    }
    CHECK(rise <= 0.06 + 1e-9);
    CHECK(fall >= -0.12 - 1e-9);
    // Both are reached, so that they are known to hold.
    CHECK(rise > 0.059);
    CHECK(fall < -0.119);
  }

  TEST_CASE("steady speech comes out as loud as in the whole form, within 1 dB") {
    for (const double loudness : {-38.0, -32.0, -26.0, -20.0, -14.0, -10.0}) {
      const at::Tensor samples = speech(8, loudness, 10);
      CAPTURE(loudness);
      const double whole = *ops::integrated_loudness(ops::normalize_loudness(samples, kRate, -14), kRate);
      CHECK(std::abs(*ops::integrated_loudness(run(samples), kRate) - whole) < 1);
      CHECK(std::abs(decibels(gains(samples).back()) - whole_gain(samples)) < 0.2);
    }
  }

  TEST_CASE("the first quarter of a second is near the target already") {
    for (const double loudness : {-32.0, -26.0, -20.0, -14.0, -10.0}) {
      const at::Tensor samples = speech(2, loudness, 11).narrow(0, 2000, 2 * kRate - 2000);
      RunningLoudness state(kRate, -14, kOpening);
      ops::normalize_loudness(samples.narrow(0, 0, kOpening), state);
      CAPTURE(loudness);
      CHECK(std::abs(decibels(state.gain) - whole_gain(samples)) < 6);
    }
  }

  TEST_CASE("rests and syllables do not move the gain: it does not pump") {
    const std::vector<double> found = gains(speech(20, -24, 12, 0.8));
    const auto settled = found.begin() + 400;
    const auto [least, most] = std::minmax_element(settled, found.end());
    CHECK(decibels(*most / *least) < 0.5);
    // In the rest between two words it stays.
    const at::Tensor rest = at::cat({speech(3, -24, 13), at::zeros({2 * kRate})});
    const std::vector<double> resting = gains(rest);
    CHECK(std::abs(decibels(resting.back() / resting[resting.size() - 180])) < 0.3);
  }

  TEST_CASE("what is silent is not heard: the gain stays that for usual speech") {
    const at::Tensor hiss = 1e-3 * speech(3, -20, 14);
    check_close(run(hiss), at::tanh(hiss * std::pow(10, 6.0 / 20)), 1e-7, "hiss");
    // Speech that begins later is met by it.
    const std::vector<double> found = gains(at::cat({hiss, speech(4, -20, 15)}));
    CHECK(decibels(found[found.size() - 395]) == doctest::Approx(6).epsilon(0.05));
    CHECK(std::abs(decibels(found.back()) - 6) < 0.5);
    // A rumble that the weighting takes away says nothing, either.
    const at::Tensor rumble = 0.01 * at::sin(at::arange(5 * kRate, at::kFloat) * (2 * std::numbers::pi / kRate));
    for (const double gain : gains(rumble)) CHECK(decibels(gain) == doctest::Approx(6));
  }

  TEST_CASE("a breath before the first word does not make that word loud") {
    const at::Tensor samples = at::cat({speech(0.3, -46, 16), speech(2, -18, 17)});
    RunningLoudness state(kRate, -14, kOpening);
    ops::normalize_loudness(samples.narrow(0, 0, kOpening), state);
    CHECK(decibels(state.gain) < 7);
  }

  TEST_CASE("other targets, and utterances shorter than the opening") {
    const at::Tensor samples = speech(6, -20, 18);
    CHECK(*ops::integrated_loudness(run(samples, -23), kRate) == doctest::Approx(-23).epsilon(0.03));
    CHECK(*ops::integrated_loudness(run(samples, -30), kRate) == doctest::Approx(-30).epsilon(0.03));
    for (const int64_t length : {0, 1, 100, 1600, 4000}) {
      const at::Tensor brief = samples.narrow(0, 3000, length);
      CHECK(run(brief).numel() == length);
      CHECK(at::isfinite(run(brief)).all().item<bool>());
    }
    check_equal(run(at::zeros({kRate})), at::zeros({kRate}), "nothing");
  }

  TEST_CASE("nothing leaves [-1, 1]") {
    CHECK(run(20 * speech(2, -5, 19)).abs().max().item<double>() <= 1);
  }
}
