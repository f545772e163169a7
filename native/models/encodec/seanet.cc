#include "models/encodec/seanet.h"

#include "core/error.h"

namespace metavoice::models::encodec {

namespace {

constexpr auto any = core::Weights::any;

// The recurrent part runs over time first and adds its input (a skip).
at::Tensor run_lstm(const layers::Lstm& lstm, const at::Tensor& x, layers::LstmState& state) {
  const at::Tensor time_first = x.permute({2, 0, 1});
  return (lstm.step(time_first.contiguous(), state) + time_first).permute({1, 2, 0});
}

bool has_lstm(const core::Weights& weights) { return weights.has("lstm.weight_ih_l0"); }

// Module numbers count the activations between the layers that have weights.
std::string module(int64_t index) { return std::to_string(index); }

}  // namespace

ResidualUnit ResidualUnit::load(const core::Weights& weights, int64_t width) {
  ResidualUnit unit;
  unit.first = layers::CausalConv::load(weights.scope("block.1"), any, width);
  unit.second = layers::CausalConv::load(weights.scope("block.3"), width, unit.first.weight.size(0));
  if (weights.has("shortcut.bias")) unit.shortcut = layers::CausalConv::load(weights.scope("shortcut"), width, width);
  return unit;
}

at::Tensor ResidualUnit::forward(const at::Tensor& x) const {
  at::Tensor none;
  return step(x, none);
}

at::Tensor ResidualUnit::step(const at::Tensor& x, at::Tensor& past) const {
  const at::Tensor inner = second.forward(at::elu(first.step(at::elu(x), past)));
  return (shortcut ? shortcut->forward(x) : x) + inner;
}

Decoder::Decoder(const core::Weights& weights, int64_t dimension, const std::vector<int64_t>& ratios) {
  first_ = layers::CausalConv::load(weights.scope(module(0)), any, dimension);
  int64_t width = first_.weight.size(0), index = 1;
  if (has_lstm(weights.scope(module(index)))) lstm_ = layers::Lstm::load(weights.scope(module(index++) + ".lstm"), width);
  for (const int64_t ratio : ratios) {
    Level level;
    level.up = layers::CausalTransposedConv::load(weights.scope(module(++index)), width, any, 2 * ratio, ratio);
    width = level.up.weight.size(1);
    level.residual = ResidualUnit::load(weights.scope(module(++index)), width);
    levels_.push_back(std::move(level));
    hop_ *= ratio;
    ++index;
  }
  last_ = layers::CausalConv::load(weights.scope(module(index + 1)), 1, width);
}

at::Tensor Decoder::step(const at::Tensor& latent, DecoderState& state) const {
  if (!state.started) state.past.assign(2 + 2 * levels_.size(), at::Tensor());
  state.started = true;
  size_t slot = 0;
  at::Tensor x = first_.step(latent.unsqueeze(0), state.past[slot++]);
  if (lstm_) x = run_lstm(*lstm_, x, state.lstm);
  for (const Level& level : levels_) {
    x = level.up.step(at::elu(x), state.past[slot++]);
    x = level.residual.step(x, state.past[slot++]);
  }
  return last_.step(at::elu(x), state.past[slot]).view({-1});
}

Encoder::Encoder(const core::Weights& weights, int64_t dimension, const std::vector<int64_t>& ratios) {
  first_ = layers::CausalConv::load(weights.scope(module(0)), any, 1);
  int64_t width = first_.weight.size(0), index = 1;
  for (auto ratio = ratios.rbegin(); ratio != ratios.rend(); ++ratio) {
    Level level;
    level.residual = ResidualUnit::load(weights.scope(module(index)), width);
    level.down = layers::CausalConv::load(weights.scope(module(index + 2)), any, width, *ratio);
    width = level.down.weight.size(0);
    levels_.push_back(std::move(level));
    index += 3;
  }
  if (has_lstm(weights.scope(module(index)))) lstm_ = layers::Lstm::load(weights.scope(module(index++) + ".lstm"), width);
  last_ = layers::CausalConv::load(weights.scope(module(index + 1)), dimension, width);
}

at::Tensor Encoder::forward(const at::Tensor& samples) const {
  at::Tensor x = first_.forward(samples.view({1, 1, -1}));
  for (const Level& level : levels_) x = level.down.forward(at::elu(level.residual.forward(x)));
  layers::LstmState state;
  if (lstm_) x = run_lstm(*lstm_, x, state);
  return last_.forward(at::elu(x)).squeeze(0);
}

}  // namespace metavoice::models::encodec
