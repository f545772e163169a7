// Bands of equal width on the mel scale, cut by windowed-sinc low-pass filters: band k is what low-pass k lets through and
// low-pass k - 1 does not, so that the bands add up to the signal (the scheme of julius' SplitBands, Défossez 2020).
//
// A filter reaches `half` samples to both sides. Signals come extended by as many neighbours: real ones where a piece is
// cut out of something longer, so that pieces equal the whole up to rounding; else the ends repeated (extend_ends).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace metavoice::ops {

struct BandFilters {
  at::Tensor lowpass;  // [bands - 1, 2 half + 1] float32
  at::Tensor spectra;  // theirs over a block, [bands - 1, bins] complex
  int64_t half = 0;

  int64_t bands() const { return lowpass.size(0) + 1; }
};

// `bands` of at least 2 between 0 and half the sample rate; made on the host, kept on the device.
BandFilters mel_bands(int64_t bands, int64_t sample_rate, const at::Device& device);

// samples [n] -> [n + 2 half], the first and the last one repeated.
at::Tensor extend_ends(const at::Tensor& samples, int64_t half);

// extended [n + 2 half] -> [bands, n]
at::Tensor split_bands(const at::Tensor& extended, const BandFilters& filters);

// One filter for the sum of gain · band: gains [bands] -> taps [2 half + 1].
at::Tensor gain_filter(const at::Tensor& gains, const BandFilters& filters);

// extended [n + taps - 1] -> [n]
at::Tensor apply_filter(const at::Tensor& extended, const at::Tensor& taps);

}  // namespace metavoice::ops
