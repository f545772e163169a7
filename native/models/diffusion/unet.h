// The denoiser of multi-band diffusion (San Roman et al., "From discrete tokens to high-fidelity audio using multi-band
// diffusion", 2023): a convolutional U-Net that is told the noise level at every depth, and the codec's latent at the
// deepest. Several of one form may run side by side (layers/parallel.h).
//
// Weights may have 16 bit; what passes between layers, and every norm, is float32.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "layers/parallel.h"

namespace metavoice::models::diffusion {

// What shapes can't tell.
struct UnetConfig {
  int64_t stride = 4;
  int64_t norm_groups = 4;

  bool operator==(const UnetConfig&) const = default;
};

// x + conv(relu(norm(conv(relu(norm(x)))))), both kernels 3 wide.
struct ResidualBlock {
  struct Half {
    layers::ParallelGroupNorm norm;
    layers::ParallelConv conv;
  };
  Half first, second;

  static ResidualBlock load(const layers::ParallelWeights& weights, int64_t width, int64_t dilation, const UnetConfig& config);
  at::Tensor forward(const at::Tensor& x, at::ScalarType dtype) const;
};

class Unet {
 public:
  // As many levels and blocks as the scopes name; all of them in one form.
  Unet(const layers::ParallelWeights& weights, const UnetConfig& config);

  int64_t networks() const { return networks_; }
  int64_t latent_width() const { return condition_.weight.size(1); }
  // Samples of a cell of the deepest level.
  int64_t cell() const;
  int64_t steps() const { return levels_[0].step.size(0); }
  at::ScalarType dtype() const { return condition_.weight.scalar_type(); }

  // latent [width, frames] -> what the deepest level of signals of so many samples adds [1, channels, length]: the same
  // at every step.
  at::Tensor condition(const at::Tensor& latent, int64_t samples, at::ScalarType dtype) const;
  // x [networks, samples] at a noise level 0 … steps - 1 -> the noise in it, [networks, samples] float32.
  at::Tensor forward(const at::Tensor& x, int64_t step, const at::Tensor& condition, at::ScalarType dtype) const;

 private:
  struct Level {
    layers::ParallelConv down;
    layers::ParallelGroupNorm down_norm;
    std::vector<ResidualBlock> down_blocks;
    at::Tensor step;  // [steps, networks * channels] float32, or undefined
    std::vector<ResidualBlock> up_blocks;
    layers::ParallelGroupNorm up_norm;
    layers::ParallelConv up;
  };

  static Level load_level(const layers::ParallelWeights& weights, int64_t level, int64_t depth, int64_t outer, const UnetConfig& config);

  int64_t networks_;
  std::vector<Level> levels_;
  layers::ParallelConv condition_;
};

}  // namespace metavoice::models::diffusion
