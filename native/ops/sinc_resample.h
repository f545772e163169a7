// Resampling by a sinc under a Hann window of 16 zero crossings, as DeepFilterNet has its input (torchaudio's default
// filter), exact in pieces. A rate of ours that nobody else defines is ops/resample.h's.
#pragma once

#include <cstdint>
#include <vector>

namespace metavoice::ops {

class SincResampler {
 public:
  struct State {
    std::vector<float> past;  // samples that outputs to come still need
    int64_t received = 0;
    int64_t emitted = 0;
  };

  // In Hz. ERR_UNSUPPORTED for rates that have hardly a divisor in common.
  SincResampler(int64_t from, int64_t to);

  // Zeros before the first sample.
  State begin() const;
  // Samples at `from` Hz -> what is complete at `to` Hz, behind what `out` has.
  void push(const float* samples, int64_t count, State& state, std::vector<float>& out) const;
  // The rest; all in all ceil(received * to / from) samples.
  void finish(State& state, std::vector<float>& out) const;

 private:
  void emit(State& state, int64_t most, std::vector<float>& out) const;

  int64_t down_, up_;  // the rates without their common divisor
  int64_t reach_;      // samples that a filter sees before its own
  int64_t taps_;
  std::vector<float> filters_;  // [up, taps]
};

}  // namespace metavoice::ops
