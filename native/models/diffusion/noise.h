// Where the sampler's numbers come from.
#pragma once

#include <ATen/ATen.h>

#include <functional>

#include "core/random.h"

namespace metavoice::models::diffusion {

// Draw 0 starts the signal, draw i follows the i-th evaluation: noise(first band, bands, draw) -> [bands, samples] float32.
using Noise = std::function<at::Tensor(int64_t, int64_t, int64_t)>;

// Numbers that somebody has: [bands, draws, samples].
Noise given_noise(const at::Tensor& numbers);

// Numbers of `draws` draws by address: band, draw, and the sample counted from the utterance's start. So windows that
// overlap draw the same ones, wherever they begin.
Noise drawn_noise(const core::RandomKey& key, int64_t draws, int64_t first_sample, int64_t samples, const at::Device& device);

}  // namespace metavoice::models::diffusion
