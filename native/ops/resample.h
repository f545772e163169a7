// Resampling between any two rates by windowed-sinc interpolation with a Kaiser window, linear phase: pass band to
// 0.9136 of the lower Nyquist frequency, 125 dB of attenuation from Nyquist on, which is the shape of soxr's "HQ".
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace metavoice::ops {

// samples [n] float32 at `from` Hz -> [ceil(n * to / from)] at `to` Hz, aligned at the first sample.
at::Tensor resample(const at::Tensor& samples, int64_t from, int64_t to);

}  // namespace metavoice::ops
