// A pre-norm transformer block. The residual stream is float32; the matrices run in the model's dtype.
#pragma once

#include <ATen/ATen.h>

#include "layers/attention.h"
#include "layers/feed_forward.h"
#include "layers/norm.h"

namespace metavoice::layers {

struct BlockShape {
  int64_t heads;
  int64_t width;
  NormKind norm;
  double norm_epsilon;
  Activation activation;
};

struct TransformerBlock {
  Norm attention_norm;
  Attention attention;
  Norm feed_forward_norm;
  FeedForward feed_forward;
  at::ScalarType dtype;

  static TransformerBlock load(const core::Weights& weights, const BlockShape& shape) {
    return {Norm::load(weights.scope("attention_norm"), shape.norm, shape.norm_epsilon, shape.width),
            Attention::load(weights.scope("attention"), shape.heads, shape.width),
            Norm::load(weights.scope("feed_forward_norm"), shape.norm, shape.norm_epsilon, shape.width),
            FeedForward::load(weights.scope("feed_forward"), shape.activation, shape.width), weights.placement().dtype};
  }

  // The same weights, computing in float32.
  TransformerBlock in_float32() const { return {attention_norm, attention, feed_forward_norm, feed_forward, at::kFloat}; }

  // residual [rows, positions, width] float32, changed in place.
  void forward(at::Tensor& residual) const {
    residual.add_(attention.forward(attention_norm.forward(residual, dtype)));
    residual.add_(feed_forward.forward(feed_forward_norm.forward(residual, dtype)));
  }

  // residual [rows, width]: one position of each of many rows.
  void forward(at::Tensor& residual, const ops::PagedMemory& memory, int64_t layer, const ops::PagedRows& rows) const {
    attention.add_to(residual, attention_norm.forward(residual, dtype), memory, layer, rows);
    feed_forward.add_to(residual, feed_forward_norm.forward(residual, dtype));
  }

  void forward(at::Tensor& residual, KvCache& cache, int64_t layer) const {
    residual.add_(attention.forward(attention_norm.forward(residual, dtype), cache, layer));
    residual.add_(feed_forward.forward(feed_forward_norm.forward(residual, dtype)));
  }
};

}  // namespace metavoice::layers
