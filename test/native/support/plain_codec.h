// SEANet in the plainest words, beside support/plain.h.
#pragma once

#include <string>
#include <vector>

#include "support/plain.h"

namespace metavoice::testing::plain {

inline at::Tensor elu_of(const at::Tensor& x) { return at::where(x > 0, x, at::exp(x) - 1); }

inline at::Tensor folded(const Tensors& tensors, const std::string& name) {
  if (tensors.contains(name + ".weight")) return get(tensors, name + ".weight");
  return weight_normed(tensors.at(name + ".weight_g"), tensors.at(name + ".weight_v"));
}

inline at::Tensor conv(const Tensors& tensors, const std::string& name, const at::Tensor& x, int64_t stride = 1) {
  return causal_conv(x, folded(tensors, name), tensors.at(name + ".bias"), stride);
}

inline at::Tensor residual_unit(const Tensors& tensors, const std::string& name, const at::Tensor& x) {
  const at::Tensor inner = conv(tensors, name + ".block.3", elu_of(conv(tensors, name + ".block.1", elu_of(x))));
  return (tensors.contains(name + ".shortcut.bias") ? conv(tensors, name + ".shortcut", x) : x) + inner;
}

inline at::Tensor recurrent(const Tensors& tensors, const std::string& name, const at::Tensor& x) {
  return lstm(tensors, name, x.t()).t() + x;
}

inline std::string part(const char* half, int64_t index) { return std::string(half) + "." + std::to_string(index); }

// latent [dimension, frames] -> samples
inline at::Tensor decoder(const Tensors& tensors, const at::Tensor& latent, const std::vector<int64_t>& ratios) {
  at::Tensor x = conv(tensors, part("decoder", 0), latent);
  const bool has_lstm = tensors.contains("decoder.1.lstm.weight_ih_l0");
  if (has_lstm) x = recurrent(tensors, "decoder.1.lstm", x);
  int64_t index = has_lstm ? 3 : 2;
  for (const int64_t ratio : ratios) {
    const std::string up = part("decoder", index);
    x = causal_transposed(elu_of(x), folded(tensors, up), tensors.at(up + ".bias"), ratio);
    x = residual_unit(tensors, part("decoder", index + 1), x);
    index += 3;
  }
  return conv(tensors, part("decoder", index), elu_of(x)).view({-1});
}

// samples -> latent [dimension, frames]
inline at::Tensor encoder(const Tensors& tensors, const at::Tensor& samples, const std::vector<int64_t>& ratios) {
  at::Tensor x = conv(tensors, part("encoder", 0), samples.view({1, -1}));
  int64_t index = 1;
  for (auto ratio = ratios.rbegin(); ratio != ratios.rend(); ++ratio) {
    x = residual_unit(tensors, part("encoder", index), x);
    x = conv(tensors, part("encoder", index + 2), elu_of(x), *ratio);
    index += 3;
  }
  if (tensors.contains(part("encoder", index) + ".lstm.weight_ih_l0")) x = recurrent(tensors, part("encoder", index++) + ".lstm", x);
  return conv(tensors, part("encoder", index + 1), elu_of(x));
}

}  // namespace metavoice::testing::plain
