// DeepFilterNet3 (Schröter et al. 2023): takes noise out of speech, always in float32 and on the CPU. Hop by hop: the
// spectrum, its features, the network, then lower bins as a filter over frames before and after, upper bins by the gain of
// their band, and synthesis. Pieces equal the whole bit for bit.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "core/stop.h"
#include "core/weights.h"
#include "models/deep_filter/network.h"
#include "ops/erb.h"
#include "ops/stft.h"

namespace metavoice::models::deep_filter {

struct DeepFilterConfig {
  int64_t sample_rate = 48000;
  int64_t window = 960;
  NetworkSizes sizes;
  int64_t least_bins = 2;   // of a band
  int64_t look_ahead = 2;   // frames; less than sizes.order
  double mean_seconds = 1;  // time constant of the features' running means
};

class DeepFilter {
 public:
  // Of one signal. Everything that is carried from hop to hop.
  struct State {
    ops::StftTail analysis, synthesis;
    ops::RunningMeans means;
    Network::State network;
    Frame spectra;       // [order, bins, 2], a ring
    int64_t frames = 0;  // that came
    Frame pending;       // samples that don't fill a hop yet
    int64_t received = 0, emitted = 0;
    // Work space: of the frame that came last, and of the one that is made.
    Frame spectrum, levels, bins;
    Frame gains, filters, enhanced, samples;
  };

  DeepFilter(const core::Weights& weights, const DeepFilterConfig& config);

  int64_t sample_rate() const { return config_.sample_rate; }
  int64_t bins() const { return stft_.bins(); }
  // Samples that must have come after one before it is known, at most: what the network waits for, and the hop.
  int64_t delay() const { return (config_.look_ahead + 2) * stft_.hop(); }

  State begin() const;
  // Samples at the sample rate -> what is known now, between -1 and 1, behind what `out` has.
  void push(const float* samples, int64_t count, State& state, Frame& out) const;
  // The rest: all in all as many samples as came.
  void finish(State& state, Frame& out) const;

  struct Enhanced {
    at::Tensor spectrum;  // [frames, bins, 2]
    at::Tensor gains;     // [frames, bands]
  };
  // The network on a whole signal's spectrum [frames, bins, 2] and features [frames, bands], [frames, deep bins, 2]. `stopped` is
  // asked for every frame.
  Enhanced enhance_spectrum(const at::Tensor& spectrum, const at::Tensor& levels, const at::Tensor& bins,
                            const core::Stopped& stopped = {}) const;

 private:
  void hop(State& state, Frame& out) const;
  bool advance(const float* spectrum, const float* levels, const float* bins, State& state) const;
  void filter(State& state) const;
  void emit(State& state, Frame& out) const;

  DeepFilterConfig config_;
  ops::Stft stft_;
  std::vector<int64_t> widths_;  // bins of each band
  float decay_;
  Network network_;
};

}  // namespace metavoice::models::deep_filter
