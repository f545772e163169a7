// Multi-head self-attention (Vaswani et al. 2017) with one fused projection to queries, keys and values.
#pragma once

#include <ATen/ATen.h>

#include "layers/kv_cache.h"
#include "layers/linear.h"
#include "ops/paged_attention.h"

namespace metavoice::layers {

struct Attention {
  int64_t heads;
  Linear qkv;  // [3 * width, width]: queries, keys, values; in each, head h holds rows h * head width …
  Linear out;  // [width, width]

  static Attention load(const core::Weights& weights, int64_t heads, int64_t width) {
    return {heads, Linear::load(weights.scope("qkv"), 3 * width, width), Linear::load(weights.scope("out"), width, width)};
  }

  // x [rows, positions, width]. Without a cache every position sees every other one.
  at::Tensor forward(const at::Tensor& x) const {
    const auto [queries, keys, values] = project(x);
    return merge(at::scaled_dot_product_attention(queries, keys, values));
  }

  // One new position of each of many rows, x [rows, width]; each sees what its own pages hold. Added to sum [rows, width] float32.
  void add_to(const at::Tensor& sum, const at::Tensor& x, const ops::PagedMemory& memory, int64_t layer,
              const ops::PagedRows& rows) const {
    const at::Tensor projected = qkv.forward(x).view({x.size(0), 3, heads, x.size(1) / heads});
    out.add_to(sum, ops::attend_paged(memory, layer, rows, projected).view(x.sizes()));
  }

  // With a cache, causal: the positions follow those of the cache.
  at::Tensor forward(const at::Tensor& x, KvCache& cache, int64_t layer) const {
    const auto [queries, new_keys, new_values] = project(x);
    const bool several = x.size(1) > 1;
    core::require(!several || cache.length() == 0, "a prompt that is the first thing in its cache");
    const auto [keys, values] = cache.append(layer, new_keys, new_values);
    // A step that is done again in float32 meets a cache of 16 bit, and a widened cache steps of 16 bit.
    const at::ScalarType wider = c10::promoteTypes(queries.scalar_type(), keys.scalar_type());
    const at::Tensor attended =
        at::scaled_dot_product_attention(queries.to(wider), keys.to(wider), values.to(wider), {}, 0.0, /*is_causal=*/several);
    return merge(attended.to(queries.scalar_type()));
  }

 private:
  std::tuple<at::Tensor, at::Tensor, at::Tensor> project(const at::Tensor& x) const {
    const int64_t rows = x.size(0), positions = x.size(1), head_width = x.size(2) / heads;
    // [3, rows, heads, positions, head width]
    const at::Tensor split = qkv.forward(x).view({rows, positions, 3, heads, head_width}).permute({2, 0, 3, 1, 4});
    return {split[0], split[1], split[2]};
  }

  at::Tensor merge(const at::Tensor& attended) const {  // [rows, heads, positions, head width]
    return out.forward(attended.transpose(1, 2).reshape({attended.size(0), attended.size(2), -1}));
  }
};

}  // namespace metavoice::layers
