// What the networks of DeepFilterNet read of a spectrum, as libDF computes it in float32: the level of bands that are
// equally wide on the ERB scale (Glasberg & Moore 1990), and the lower bins, each against its own running mean.
#pragma once

#include <cstdint>
#include <vector>

namespace metavoice::ops {

// Bins of each band, from 0 Hz up: `bands` of them, at least `least` bins each. Their sum is window / 2 + 1.
std::vector<int64_t> erb_widths(int64_t sample_rate, int64_t window, int64_t bands, int64_t least);

// How much of a running mean stays from hop to hop; three decimals, or as many more as tell it from 1.
float mean_decay(int64_t sample_rate, int64_t hop, double seconds);

struct RunningMeans {
  std::vector<float> level;      // [bands], in decibels
  std::vector<float> magnitude;  // [bins]

  // As at the start of a signal: from -60 down to -90 dB, from 0.001 down to 0.0001.
  static RunningMeans initial(int64_t bands, int64_t bins);
};

// spectrum [bins, 2] -> levels [bands] above their running means, in units of 40 dB
void erb_levels(const float* spectrum, const std::vector<int64_t>& widths, float decay, RunningMeans& means, float* levels);

// spectrum [bins, 2] -> its first bins [magnitudes of the means, 2] over the root of their running mean magnitudes
void unit_norm(const float* spectrum, float decay, RunningMeans& means, float* normalized);

}  // namespace metavoice::ops
