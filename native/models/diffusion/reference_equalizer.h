// Gives each of many mel-spaced bands of a signal the level that it has in a reference: the networks of multi-band
// diffusion get the fine structure right, the codec's own decoder the balance.
#pragma once

#include <ATen/ATen.h>

#include "ops/band_split.h"

namespace metavoice::models::diffusion {

class ReferenceEqualizer {
 public:
  ReferenceEqualizer(int64_t bands, int64_t sample_rate, const at::Device& device) : filters_(ops::mel_bands(bands, sample_rate, device)) {}

  // Neighbours on each side that extended signals have (ops/band_split.h).
  int64_t half() const { return filters_.half; }

  // What was heard of both so far; grows piece by piece.
  struct Levels {
    at::Tensor moments;  // sums and sums of squares [signal and reference, 2, bands] double; undefined at first
    int64_t samples = 0;
  };
  // `signal` and `reference` are extended, [n + 2 half].
  void measure(Levels& levels, const at::Tensor& signal, const at::Tensor& reference) const;

  // extended [n + 2 half] -> [n]
  at::Tensor apply(const Levels& levels, const at::Tensor& signal) const;

  // Levels of all of both, [n] -> [n].
  at::Tensor equalize(const at::Tensor& signal, const at::Tensor& reference) const;

 private:
  ops::BandFilters filters_;
};

}  // namespace metavoice::models::diffusion
