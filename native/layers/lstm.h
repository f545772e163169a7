// A stack of LSTM layers (PyTorch's gate order i, f, g, o), whole or in pieces with carried state.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "core/weights.h"

namespace metavoice::layers {

struct LstmState {
  at::Tensor hidden;  // [layers, batch, hidden], undefined before the first piece
  at::Tensor cell;
};

struct Lstm {
  std::vector<at::Tensor> parameters;  // per layer: ih, hh, ih bias, hh bias
  int64_t layers;
  int64_t hidden;

  // As many layers as the scope names.
  static Lstm load(const core::Weights& weights, int64_t input) {
    Lstm result{{}, 0, 0};
    constexpr auto any = core::Weights::any;
    for (int64_t in = input; result.layers == 0 || weights.has("weight_ih_l" + std::to_string(result.layers)); ++result.layers) {
      const std::string suffix = "_l" + std::to_string(result.layers);
      const at::Tensor recurrent = weights.tensor("weight_hh" + suffix, {any, any}, at::kFloat);
      result.hidden = recurrent.size(1);
      const int64_t gates = 4 * result.hidden;
      result.parameters.push_back(weights.tensor("weight_ih" + suffix, {gates, in}, at::kFloat));
      result.parameters.push_back(weights.tensor("weight_hh" + suffix, {gates, result.hidden}, at::kFloat));
      result.parameters.push_back(weights.tensor("bias_ih" + suffix, {gates}, at::kFloat));
      result.parameters.push_back(weights.tensor("bias_hh" + suffix, {gates}, at::kFloat));
      in = result.hidden;
    }
    // cuDNN wants them in one piece; otherwise it puts them together at every call, and says so on standard error.
    constexpr int64_t kLstm = 2, kPerLayer = 4;
    if (result.parameters[0].is_cuda() && at::cudnn_is_acceptable(result.parameters[0]))
      at::_cudnn_rnn_flatten_weight(result.parameters, kPerLayer, input, kLstm, result.hidden, 0, result.layers, false, false);
    return result;
  }

  // x [time, batch, input] -> [time, batch, hidden]
  at::Tensor step(const at::Tensor& x, LstmState& state) const {
    if (!state.hidden.defined()) {
      state.hidden = x.new_zeros({layers, x.size(1), hidden});
      state.cell = x.new_zeros({layers, x.size(1), hidden});
    }
    auto [output, last_hidden, last_cell] =
        at::lstm(x, {state.hidden, state.cell}, parameters, /*has_biases=*/true, layers, 0.0, /*train=*/false,
                 /*bidirectional=*/false, /*batch_first=*/false);
    state.hidden = last_hidden;
    state.cell = last_cell;
    return output;
  }
};

}  // namespace metavoice::layers
