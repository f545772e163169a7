// The position-wise network of a transformer block: SwiGLU (Shazeer 2020), or GELU with the exact error function.
#pragma once

#include <ATen/ATen.h>

#include "layers/linear.h"
#include "ops/swiglu.h"

namespace metavoice::layers {

enum class Activation { swiglu, gelu };

struct FeedForward {
  Activation activation;
  Linear gate;  // [hidden, width]; SwiGLU only
  Linear up;    // [hidden, width]
  Linear down;  // [width, hidden]

  static FeedForward load(const core::Weights& weights, Activation activation, int64_t width) {
    FeedForward result{activation, {}, {}, {}};
    constexpr auto any = core::Weights::any;
    result.up = Linear::load(weights.scope("up"), any, width);
    const int64_t hidden = result.up.out();
    if (activation == Activation::swiglu) result.gate = Linear::load(weights.scope("gate"), hidden, width);
    result.down = Linear::load(weights.scope("down"), width, hidden);
    return result;
  }

  at::Tensor forward(const at::Tensor& x) const { return down.forward(activated(x)); }

  // sum [..., width] float32 += forward(x).
  void add_to(const at::Tensor& sum, const at::Tensor& x) const { down.add_to(sum, activated(x)); }

 private:
  at::Tensor activated(const at::Tensor& x) const {  // [..., hidden]
    if (activation == Activation::gelu) return at::gelu(up.forward(x), "none");
    return ops::swiglu(gate.forward(x), up.forward(x));
  }
};

}  // namespace metavoice::layers
