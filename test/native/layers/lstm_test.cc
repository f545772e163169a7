#include "layers/lstm.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

Tensors some(int64_t layers, int64_t input, int64_t hidden) {
  Numbers numbers(31);
  Tensors tensors;
  for (int64_t i = 0; i < layers; ++i) {
    const std::string suffix = "_l" + std::to_string(i);
    tensors["lstm.weight_ih" + suffix] = numbers.normal({4 * hidden, i == 0 ? input : hidden}, 0.5);
    tensors["lstm.weight_hh" + suffix] = numbers.normal({4 * hidden, hidden}, 0.5);
    tensors["lstm.bias_ih" + suffix] = numbers.normal({4 * hidden}, 0.5);
    tensors["lstm.bias_hh" + suffix] = numbers.normal({4 * hidden}, 0.5);
  }
  return tensors;
}

}  // namespace

TEST_SUITE("layers/lstm") {
  TEST_CASE("refuses gates that are not four, and layers that do not follow") {
    Tensors tensors = some(2, 3, 4);
    tensors["lstm.bias_hh_l1"] = at::ones({12});
    check_refused([&] { layers::Lstm::load(opened(tensors).scope("lstm"), 3); }, "ERR_CHECKPOINT", "bias_hh_l1");
    check_refused([&] { layers::Lstm::load(opened(some(1, 3, 4)).scope("lstm"), 5); }, "ERR_CHECKPOINT", "weight_ih_l0");
    check_refused([&] { layers::Lstm::load(opened({}).scope("lstm"), 3); }, "ERR_CHECKPOINT", "weight_hh_l0");
  }

  TEST_CASE("is the plain formula, for any number of layers") {
    for (const at::Device& device : devices()) {
      for (const int64_t depth : {1, 2, 3}) {
        CAPTURE(device.str());
        const Tensors tensors = some(depth, 3, 5);
        const auto lstm = layers::Lstm::load(opened(tensors, {device, at::kBFloat16}).scope("lstm"), 3);
        CHECK(lstm.layers == depth);
        // In one piece, as cuDNN wants them.
        if (device.is_cuda()) CHECK(lstm.parameters.front().storage().data() == lstm.parameters.back().storage().data());
        const at::Tensor x = Numbers(32).normal({20, 2, 3}, 1);
        layers::LstmState state;
        const at::Tensor found = lstm.step(x.to(device), state).cpu();
        for (int64_t row = 0; row < 2; ++row)
          check_close(found.select(1, row), plain::lstm(tensors, "lstm", x.select(1, row)), kSameTolerance, std::to_string(depth) + " layers");
      }
    }
  }

  TEST_CASE("pieces with carried state equal the whole") {
    const auto lstm = layers::Lstm::load(opened(some(2, 3, 5)).scope("lstm"), 3);
    const at::Tensor x = Numbers(33).normal({12, 1, 3}, 1);
    layers::LstmState whole_state, state;
    const at::Tensor whole = lstm.step(x, whole_state);
    std::vector<at::Tensor> pieces;
    int64_t first = 0;
    for (const int64_t length : {1, 4, 1, 6}) {
      pieces.push_back(lstm.step(x.narrow(0, first, length), state));
      first += length;
    }
    check_close(at::cat(pieces), whole, 1e-6, "pieces");
    check_close(state.hidden, whole_state.hidden, 1e-6, "hidden state");
    check_close(state.cell, whole_state.cell, 1e-6, "cell state");
  }
}
