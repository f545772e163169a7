// What the two language models share: sizes read from the file, and a stack of blocks.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "core/weights.h"
#include "layers/transformer_block.h"

namespace metavoice::models {

// What shapes can't tell; the rest is read from the tensors.
struct TransformerConfig {
  int64_t heads = 0;
  layers::NormKind norm = layers::NormKind::rms;
  double norm_epsilon = 1e-5;
  layers::Activation activation = layers::Activation::swiglu;
};

// What an evaluation computes in: the model's own dtype, or float32 with each matrix upcast when its turn comes, so that
// one of them at a time is held twice.
enum class Precision { own, float32 };

struct Transformer {
  std::vector<at::Tensor> tokens;  // one table per input row, [vocabulary, width]
  at::Tensor positions;            // [window, width]
  at::Tensor speaker;              // [width, speaker embedding] float32, or undefined
  std::vector<layers::TransformerBlock> blocks;
  layers::Norm norm;
  // Output layers [entries, width], float32; on the CPU one that is the first table is that table. Logits are never rounded to 16 bit.
  std::vector<at::Tensor> heads;
  int64_t attention_heads = 0;

  // As many tables, blocks and heads as the file names; without heads the first table is the output layer.
  static Transformer load(const core::Weights& weights, const TransformerConfig& config);

  // run(block, index) for each block in order.
  template <class Run>
  void each_block(Precision precision, Run run) const {
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (precision == Precision::own) run(blocks[i], static_cast<int64_t>(i));
      else run(blocks[i].in_float32(), static_cast<int64_t>(i));
    }
  }

  int64_t width() const { return positions.size(1); }
  int64_t window() const { return positions.size(0); }
  int64_t head_width() const { return width() / attention_heads; }
  int64_t vocabulary(size_t table = 0) const { return tokens[table].size(0); }
  int64_t speaker_width() const { return speaker.defined() ? speaker.size(1) : 0; }
  at::Device device() const { return positions.device(); }
  at::ScalarType dtype() const { return positions.scalar_type(); }

  // speaker embedding [speaker width] -> its projection [1, 1, width] float32, the same at every position.
  at::Tensor project_speaker(const at::Tensor& embedding) const;
};

}  // namespace metavoice::models
