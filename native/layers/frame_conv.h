// Convolutions over time and frequency, one frame at a time on the CPU: causal in time, zeros around the frequencies. A
// frame is [bins, channels].
#pragma once

#include <vector>

#include "core/weights.h"
#include "layers/batch_norm.h"
#include "layers/grouped_linear.h"

namespace metavoice::layers {

// The frames that a convolution still sees, zeros at first.
struct FrameMemory {
  std::vector<float> frames;   // [times, bins, in], a ring
  std::vector<float> patches;  // of the frame that is computed
  int64_t next = 0;            // where the next frame goes
};

// An ordinary or grouped convolution [times, width] of stride 1.
struct FrameConv {
  GroupedLinear product;  // of patches [bins, groups, times * width * in / groups]
  int64_t in, times, width;

  // weight [out, in / groups, times, width]; its normalisation, if one follows, goes into it
  static FrameConv load(const core::Weights& weights, const std::string& name, int64_t in, const BatchNorm* norm = nullptr);

  int64_t out() const { return product.groups * product.out; }
  FrameMemory begin(int64_t bins) const;

  // x [bins, in] -> to [bins, out]
  void step(const float* x, FrameMemory& memory, float* to) const;
};

// One kernel of its own for each channel, along the frequencies alone, with a stride: it leaves bins out, or puts some
// between (transposed).
struct DepthwiseConv {
  at::Tensor weight;  // [3, channels]
  int64_t stride = 1;
  bool transposed = false;

  // weight [channels, 1, 1, 3]
  static DepthwiseConv load(const core::Weights& weights, const std::string& name, int64_t channels, int64_t stride, bool transposed = false);

  int64_t bins_out(int64_t bins) const { return transposed ? bins * stride : (bins + stride - 1) / stride; }

  // x [bins, channels] -> to [bins_out(bins), channels]
  void forward(const float* x, int64_t bins, float* to) const;
};

}  // namespace metavoice::layers
