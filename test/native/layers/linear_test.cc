#include "layers/linear.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("layers/linear") {
  TEST_CASE("refuses shapes that do not fit, the bias's too") {
    const core::Weights weights = opened({{"a.weight", at::ones({3, 2})}, {"a.bias", at::ones({2})}});
    check_refused([&] { layers::Linear::load(weights.scope("a"), 2, 3); }, "ERR_CHECKPOINT", "a.weight");
    check_refused([&] { layers::Linear::load(weights.scope("a"), 3, 2); }, "ERR_CHECKPOINT", "a.bias");
  }

  TEST_CASE("is x W^T + b in every dtype") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      Numbers numbers(6);
      const Tensors tensors = {{"a.weight", numbers.normal({9, 33}, 0.2)}, {"a.bias", numbers.normal({9}, 1)}};
      const at::Tensor x = numbers.normal({5, 33}, 1);
      const at::Tensor wanted = plain::linear(tensors, "a", x.to(at::kDouble));
      for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kHalf, 5e-3}, {at::kBFloat16, 4e-2}}) {
        const auto linear = layers::Linear::load(opened(tensors, {device, dtype}).scope("a"), 9, 33);
        CHECK((linear.bias.scalar_type() == dtype));
        check_close(linear.forward(x.to(device, dtype)), wanted, tolerance, std::string("linear in ") + at::toString(dtype));
      }
    }
  }

  TEST_CASE("goes without a bias, and may have a dtype of its own") {
    Numbers numbers(7);
    const Tensors tensors = {{"a.weight", numbers.normal({4, 3}, 1)}};
    const auto linear = layers::Linear::load(opened(tensors, {at::kCPU, at::kHalf}).scope("a"), 4, core::Weights::any, at::kFloat);
    CHECK_FALSE(linear.bias.defined());
    const at::Tensor x = numbers.normal({2, 3}, 1);
    check_close(linear.forward(x), plain::linear(tensors, "a", x.to(at::kDouble)), 1e-6, "no bias");
  }
}
