// Networks whose 16-bit form overflows although their numbers are harmless in float32: a weight is scaled up, the one
// behind it down, so that the function stays what it was.
#pragma once

#include <algorithm>
#include <string>

#include "support/networks.h"

namespace metavoice::testing {

constexpr double kLargestHalf = 65504;

inline at::Tensor scaled(const at::Tensor& weight, double factor) { return (weight * factor).clamp(-kLargestHalf, kLargestHalf); }

// The inside of every feed-forward network goes beyond float16.
inline Tensors overflowing_inside(Tensors tensors, double factor = 3e4) {
  for (auto& [name, tensor] : tensors) {
    if (name.ends_with("feed_forward.up.weight")) tensor = scaled(tensor, factor);
    if (name.ends_with("feed_forward.down.weight")) tensor = scaled(tensor, 1 / factor);
  }
  return tensors;
}

// Keys go beyond float16, so that the cache cannot hold them; queries shrink as much.
inline Tensors overflowing_keys(Tensors tensors, double factor = 1e5) {
  for (auto& [name, tensor] : tensors) {
    if (!name.ends_with("attention.qkv.weight")) continue;
    const int64_t width = tensor.size(1);
    tensor = at::cat({scaled(tensor.narrow(0, 0, width), 1 / factor), scaled(tensor.narrow(0, width, width), factor),
                      tensor.narrow(0, 2 * width, width)});
  }
  return tensors;
}

// The numbers that are left of them in float16, as float32: what a redone evaluation computes with.
inline Tensors rounded_to_half(Tensors tensors) {
  for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kHalf).to(at::kFloat);
  return tensors;
}

}  // namespace metavoice::testing
