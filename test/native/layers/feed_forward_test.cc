#include "layers/feed_forward.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;
using layers::Activation;
using layers::FeedForward;

TEST_SUITE("layers/feed_forward") {
  TEST_CASE("refuses a SwiGLU without its gate, and a gate of another width") {
    Tensors tensors = {{"f.up.weight", at::ones({6, 4})}, {"f.down.weight", at::ones({4, 6})}};
    check_refused([&] { FeedForward::load(opened(tensors).scope("f"), Activation::swiglu, 4); }, "ERR_CHECKPOINT", "f.gate.weight");
    tensors["f.gate.weight"] = at::ones({5, 4});
    check_refused([&] { FeedForward::load(opened(tensors).scope("f"), Activation::swiglu, 4); }, "ERR_CHECKPOINT", "[6, 4] but found [5, 4]");
  }

  TEST_CASE("a GELU that stores a gate leaves it unused, which the model then refuses") {
    const core::Weights weights = opened({{"f.up.weight", at::ones({6, 4})}, {"f.down.weight", at::ones({4, 6})}, {"f.gate.weight", at::ones({6, 4})}});
    FeedForward::load(weights.scope("f"), Activation::gelu, 4);
    check_refused([&] { weights.require_all_used(); }, "ERR_CHECKPOINT", "f.gate.weight");
  }

  TEST_CASE("is the plain formula: SiLU gate, or GELU with the error function, with and without biases") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      for (const bool swiglu : {true, false}) {
        for (const bool biases : {true, false}) {
          const Tensors tensors = random_transformer(
              {.layers = 1, .width = 12, .hidden = 20, .vocabularies = {3}, .swiglu = swiglu, .biases = biases}, 8);
          const auto network = FeedForward::load(opened(tensors, {device, at::kFloat}).scope("layers.0.feed_forward"),
                                                 swiglu ? Activation::swiglu : Activation::gelu, 12);
          const at::Tensor x = Numbers(9).normal({7, 12}, 3);
          check_close(network.forward(x.to(device)), plain::feed_forward(tensors, "layers.0.feed_forward", x.to(at::kDouble), {.swiglu = swiglu}),
                      kSameTolerance, swiglu ? "SwiGLU" : "GELU");
        }
      }
    }
  }

  TEST_CASE("the GELU is the exact one, not its tanh form") {
    // At 1: 0.8413447 by the error function, 0.8411920 by tanh.
    const auto network = FeedForward::load(opened({{"up.weight", at::ones({1, 1})}, {"down.weight", at::ones({1, 1})}}), Activation::gelu, 1);
    CHECK(network.forward(at::ones({1, 1})).item<float>() == doctest::Approx(0.8413447).epsilon(1e-6));
  }
}
