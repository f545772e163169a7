#include "layers/gru.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

Tensors some(int64_t layers, int64_t input, int64_t hidden) {
  Numbers numbers(31);
  Tensors tensors;
  for (int64_t i = 0; i < layers; ++i) {
    const std::string suffix = "_l" + std::to_string(i);
    tensors["gru.weight_ih" + suffix] = numbers.normal({3 * hidden, i == 0 ? input : hidden}, 0.5);
    tensors["gru.weight_hh" + suffix] = numbers.normal({3 * hidden, hidden}, 0.5);
    tensors["gru.bias_ih" + suffix] = numbers.normal({3 * hidden}, 0.5);
    tensors["gru.bias_hh" + suffix] = numbers.normal({3 * hidden}, 0.5);
  }
  return tensors;
}

at::Tensor steps(const layers::Gru& gru, const at::Tensor& x, layers::GruState& state) {
  at::Tensor out = at::empty({x.size(0), gru.hidden()});
  for (int64_t time = 0; time < x.size(0); ++time) {
    const float* hidden = gru.step(x[time].const_data_ptr<float>(), state);
    std::copy(hidden, hidden + gru.hidden(), out[time].data_ptr<float>());
  }
  return out;
}

}  // namespace

TEST_SUITE("layers/gru") {
  TEST_CASE("is the plain formula, for any number of layers and width") {
    for (const auto& [depth, input, hidden] : {std::tuple<int64_t, int64_t, int64_t>{1, 3, 5}, {2, 9, 8}, {3, 16, 40}}) {
      const Tensors tensors = some(depth, input, hidden);
      const auto gru = layers::Gru::load(opened(tensors).scope("gru"), input);
      CHECK(gru.layers() == depth);
      const at::Tensor x = Numbers(32).normal({20, input}, 1);
      auto state = gru.begin();
      check_close(steps(gru, x, state), plain::gru(tensors, "gru", x.to(at::kDouble)), kSameTolerance, std::to_string(depth) + " layers");
    }
  }

  TEST_CASE("begins in silence, and goes on from its state") {
    const auto gru = layers::Gru::load(opened(some(2, 3, 5)).scope("gru"), 3);
    const at::Tensor x = Numbers(33).normal({12, 3}, 1);
    auto state = gru.begin(), other = gru.begin();
    const at::Tensor whole = steps(gru, x, state);
    check_equal(at::cat({steps(gru, x.narrow(0, 0, 5), other), steps(gru, x.narrow(0, 5, 7), other)}), whole, "pieces");
    std::fill(other.gates.begin(), other.gates.end(), NAN);
    other.hidden = gru.begin().hidden;
    check_equal(steps(gru, x, other), whole, "with work space that holds no numbers");
  }

  TEST_CASE("refuses gates that are not three, and layers that do not follow") {
    Tensors tensors = some(2, 3, 4);
    tensors["gru.bias_hh_l1"] = at::ones({16});
    check_refused([&] { layers::Gru::load(opened(tensors).scope("gru"), 3); }, "ERR_CHECKPOINT", "bias_hh_l1");
    check_refused([&] { layers::Gru::load(opened(some(1, 3, 4)).scope("gru"), 5); }, "ERR_CHECKPOINT", "weight_ih_l0");
    check_refused([&] { layers::Gru::load(opened({}).scope("gru"), 3); }, "ERR_CHECKPOINT", "weight_hh_l0");
  }
}
