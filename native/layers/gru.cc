#include "layers/gru.h"

#include "ops/sigmoid.h"

namespace metavoice::layers {

Gru Gru::load(const core::Weights& weights, int64_t input) {
  constexpr auto any = core::Weights::any;
  Gru result;
  for (int64_t in = input; result.layers_.empty() || weights.has("weight_ih_l" + std::to_string(result.layers()));) {
    const std::string suffix = "_l" + std::to_string(result.layers());
    const at::Tensor recurrent = weights.tensor("weight_hh" + suffix, {any, any}, at::kFloat);
    const int64_t hidden = recurrent.size(1), gates = 3 * hidden;
    const auto layer = [&](const std::string& part, int64_t width) {
      const at::Tensor weight = weights.tensor("weight_" + part + suffix, {gates, width}, at::kFloat);
      return GroupedLinear::of(weight.t().unsqueeze(0).contiguous(), weights.tensor("bias_" + part + suffix, {gates}, at::kFloat));
    };
    result.layers_.push_back({layer("ih", in), layer("hh", hidden)});
    result.hidden_ = in = hidden;
  }
  return result;
}

GruState Gru::begin() const {
  const auto width = static_cast<size_t>(hidden_);
  return {std::vector<float>(layers_.size() * width, 0.0F), std::vector<float>(6 * width, 0.0F)};
}

const float* Gru::step(const float* x, GruState& state) const {
  float* hidden = state.hidden.data();
  for (const Layer& layer : layers_) {
    float* of_input = state.gates.data();
    float* of_hidden = of_input + 3 * hidden_;
    layer.input.forward(x, 1, of_input);
    layer.recurrent.forward(hidden, 1, of_hidden);
    for (int64_t i = 0; i < hidden_; ++i) {
      const float reset = ops::sigmoid(of_input[i] + of_hidden[i]);
      const float update = ops::sigmoid(of_input[hidden_ + i] + of_hidden[hidden_ + i]);
      const float fresh = ops::hyperbolic_tangent(of_input[2 * hidden_ + i] + reset * of_hidden[2 * hidden_ + i]);
      hidden[i] = (1.0F - update) * fresh + update * hidden[i];
    }
    x = hidden;
    hidden += hidden_;
  }
  return x;
}

}  // namespace metavoice::layers
