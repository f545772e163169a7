// SEANet, the convolutional halves of EnCodec (Défossez et al., "High fidelity neural audio compression", 2022).
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "layers/conv.h"
#include "layers/lstm.h"

namespace metavoice::models::encodec {

// What an utterance carries from one piece of decoding to the next: ends of inputs, overlaps, LSTM state.
struct DecoderState {
  std::vector<at::Tensor> past;
  layers::LstmState lstm;
  bool started = false;
};

// y = shortcut(x) + conv1(ELU(conv3(ELU(x)))); without a stored shortcut, x itself.
struct ResidualUnit {
  layers::CausalConv first;
  layers::CausalConv second;
  std::optional<layers::CausalConv> shortcut;

  static ResidualUnit load(const core::Weights& weights, int64_t width);
  at::Tensor forward(const at::Tensor& x) const;
  at::Tensor step(const at::Tensor& x, at::Tensor& past) const;
};

class Decoder {
 public:
  // `ratios` in the decoder's order, e.g. 8, 5, 4, 2.
  Decoder(const core::Weights& weights, int64_t dimension, const std::vector<int64_t>& ratios);

  int64_t hop() const { return hop_; }
  // Frames that the first piece needs, unless it is the whole utterance: the first kernel.
  int64_t first_frames() const { return first_.kernel(); }

  // latent [dimension, frames] -> samples [frames * hop]; pieces of one utterance share a state.
  at::Tensor step(const at::Tensor& latent, DecoderState& state) const;

 private:
  struct Level {
    layers::CausalTransposedConv up;
    ResidualUnit residual;
  };

  layers::CausalConv first_;
  std::optional<layers::Lstm> lstm_;
  std::vector<Level> levels_;
  layers::CausalConv last_;
  int64_t hop_ = 1;
};

class Encoder {
 public:
  // The mirror image of the decoder; whole signals only.
  Encoder(const core::Weights& weights, int64_t dimension, const std::vector<int64_t>& ratios);

  // samples [n] -> latent [dimension, ceil(n / hop)]
  at::Tensor forward(const at::Tensor& samples) const;

 private:
  struct Level {
    ResidualUnit residual;
    layers::CausalConv down;
  };

  layers::CausalConv first_;
  std::vector<Level> levels_;
  std::optional<layers::Lstm> lstm_;
  layers::CausalConv last_;
};

}  // namespace metavoice::models::encodec
