// A stack of GRU layers (Cho et al. 2014; PyTorch's gate order r, z, n), one step at a time on the CPU.
#pragma once

#include <string>
#include <vector>

#include "core/weights.h"
#include "layers/grouped_linear.h"

namespace metavoice::layers {

struct GruState {
  std::vector<float> hidden;  // [layers, hidden]
  std::vector<float> gates;   // [2, 3 hidden] of the step that is computed: of the input, of the hidden state
};

class Gru {
 public:
  // As many layers as the scope names.
  static Gru load(const core::Weights& weights, int64_t input);

  int64_t hidden() const { return hidden_; }
  int64_t layers() const { return static_cast<int64_t>(layers_.size()); }
  GruState begin() const;

  // x [input] -> the last layer's hidden state [hidden], in `state`
  const float* step(const float* x, GruState& state) const;

 private:
  struct Layer {
    GroupedLinear input, recurrent;
  };

  std::vector<Layer> layers_;
  int64_t hidden_ = 0;
};

}  // namespace metavoice::layers
