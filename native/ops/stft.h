// The short-time Fourier transform of libDF (Schröter et al. 2022), one hop at a time: frames of two hops under a Vorbis
// window, half overlapped. Analysis and synthesis together delay by one hop and change nothing else.
#pragma once

#include <cstdint>
#include <vector>

#include "ops/real_fft.h"

namespace metavoice::ops {

// What one hop leaves for the next, per direction; zeros at first.
using StftTail = std::vector<float>;  // [hop]

class Stft {
 public:
  // `window` samples, an even number.
  explicit Stft(int64_t window);

  int64_t hop() const { return fft_.size() / 2; }
  int64_t bins() const { return fft_.bins(); }
  StftTail silence() const { return StftTail(static_cast<size_t>(hop()), 0.0F); }

  // samples [hop] -> spectrum [bins, 2] of these and the hop before, divided by the window's length
  void analyze(const float* samples, StftTail& tail, float* spectrum) const;
  // spectrum [bins, 2] -> samples [hop], which the next spectrum changes no more
  void synthesize(const float* spectrum, StftTail& tail, float* samples) const;

 private:
  RealFft fft_;
  std::vector<float> window_;  // [2 hop]
};

}  // namespace metavoice::ops
