// Speech brought to a loudness while it is being spoken. The gain follows the integrated loudness of all that was heard so
// far, which settles, and never what is loud or soft just now: it does not pump.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>

#include "ops/loudness.h"

namespace metavoice::ops {

// The gain moves no faster than this, in dB per second.
constexpr double kFastestRise = 6;
constexpr double kFastestFall = 12;
// So far back it listens: a speech may be endless.
constexpr double kLongestMemory = 600;  // seconds

// What one stream carries from piece to piece.
struct RunningLoudness {
  // `opening`: samples that the first piece has at least, unless it is all there is. They are listened to before the first
  // gain, later ones only after they went through.
  RunningLoudness(int64_t rate, double target, int64_t opening);

  const int64_t rate;
  const double target;    // LKFS
  const int64_t opening;  // samples
  KWeighting weighting;
  bool begun = false;
  // Of the 100 ms in hand.
  int64_t place = 0;      // samples
  double weighted = 0;    // sum of squares after the weighting
  double plain = 0;       // and before it
  double gain = 1;
  double growth = 1;      // of the gain, per sample
  double next_gain = 1;   // at their end
  // Mean squares of those before, as far back as it listens; 0 where they were silent.
  std::deque<double> heard;
};

// samples [n] -> tanh(gain samples). Causal from the opening on: pieces of any size give the bits of the whole.
at::Tensor normalize_loudness(const at::Tensor& samples, RunningLoudness& state);

}  // namespace metavoice::ops
