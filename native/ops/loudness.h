// Loudness by ITU-R BS.1770-4, of one channel, in LKFS; and speech brought to a loudness.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace metavoice::ops {

// Rates below it can't hold the shelf of the weighting.
constexpr int64_t kLeastLoudnessRate = 4000;

// Speech softer than this is left as it is, or not heard.
constexpr double kSilentRms = 2e-3;

// A filter of second order that carries its state. What comes out is held within [-1, 1], as torchaudio's lfilter does,
// but not what is fed back: loud signals are measured a little too soft, which is part of the published pipeline.
struct Biquad {
  double b0, b1, b2, a1, a2;
  double first = 0, second = 0;

  double step(double x) {
    const double y = b0 * x + first;
    first = b1 * x - a1 * y + second;
    second = b2 * x - a2 * y;
    return std::clamp(y, -1.0, 1.0);
  }
};

// The K-weighting: a high shelf (+4 dB from 1,500 Hz on), then a high-pass at 38 Hz.
class KWeighting {
 public:
  explicit KWeighting(int64_t rate);
  double step(double x) { return high_pass_.step(shelf_.step(x)); }

 private:
  Biquad shelf_, high_pass_;
};

// Samples of a gating block, 400 ms, and from one to the next, 100 ms.
int64_t loudness_block(int64_t rate);
int64_t loudness_step(int64_t rate);

double loudness_of(double mean_square);
double mean_square_of(double loudness);

// Blocks that are taken for heard beside those that were.
struct AssumedBlocks {
  double count = 0;
  double mean_square = 0;
};

// The mean over the mean squares of blocks that pass the two gates: above -70 LKFS, and above 10 LU below the mean of
// those. Nothing where none does.
std::optional<double> gated_mean(std::vector<double> blocks, AssumedBlocks assumed = {});

// samples [n] at `rate` Hz -> integrated loudness; nothing where no block passes. Less than one block counts as one.
std::optional<double> integrated_loudness(const at::Tensor& samples, int64_t rate);

// samples [n] -> tanh(g samples), with the gain that brings their integrated loudness to `target`: the published form,
// which needs all of them at once. Silence (below 2e-3 RMS, or nothing that passes the gates) stays as it is.
at::Tensor normalize_loudness(const at::Tensor& samples, int64_t rate, double target);

}  // namespace metavoice::ops
