// What the network of DeepFilterNet3 is built from. A frame is [bins, channels]; buffers grow once and are kept.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/weights.h"
#include "layers/frame_conv.h"
#include "layers/gru.h"

namespace metavoice::models::deep_filter {

using Frame = std::vector<float>;

void relu(Frame& x);

// A matrix over the channels [out, in, 1, 1], and the normalisation behind it.
layers::GroupedLinear load_pointwise(const core::Weights& weights, int matrix, int norm, int64_t out, int64_t in);

// A kernel of its own for each channel, a matrix over the channels, normalisation, ReLU.
struct Separable {
  layers::DepthwiseConv depthwise;
  layers::GroupedLinear pointwise;

  static Separable load(const core::Weights& weights, int64_t channels, int64_t stride, bool transposed = false);
  // x [bins, channels] -> to [depthwise.bins_out(bins), channels]
  void forward(const Frame& x, Frame& work, Frame& to) const;
};

// The way of the encoder's frames into the decoder: max(0, scale · x + offset), channel by channel.
struct Pathway {
  at::Tensor scale;   // [channels]
  at::Tensor offset;  // [channels]

  static Pathway load(const core::Weights& weights, int64_t channels);
  // sum [bins, channels] += the pathway of x [bins, channels]
  void add(const Frame& x, Frame& sum) const;
};

// A GRU that is narrower than what it reads and, where it has a layer behind it, writes: grouped linear, ReLU, GRU, and
// again grouped linear, ReLU.
struct SqueezedGru {
  layers::GroupedLinear linear_in;
  layers::Gru gru;
  std::optional<layers::GroupedLinear> linear_out;

  static SqueezedGru load(const core::Weights& weights, int64_t width);
  // x [width] -> to [width], or [hidden] without the layer behind
  void step(const Frame& x, layers::GruState& state, Frame& work, Frame& to) const;
};

}  // namespace metavoice::models::deep_filter
