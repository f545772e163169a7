#include "layers/norm.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("layers/norm") {
  TEST_CASE("refuses a weight of another width") {
    const core::Weights weights = opened({{"norm.weight", at::ones({7})}});
    check_refused([&] { layers::Norm::load(weights.scope("norm"), layers::NormKind::rms, 1e-5, 8); }, "ERR_CHECKPOINT", "[8] but found [7]");
  }

  TEST_CASE("is the plain formula, with and without bias, in float32 whatever the model's dtype") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      Numbers numbers(5);
      for (const bool rms : {true, false}) {
        for (const bool bias : {true, false}) {
          if (rms && bias) continue;
          Tensors tensors = {{"norm.weight", 1 + numbers.normal({48}, 0.5)}};
          if (bias) tensors["norm.bias"] = numbers.normal({48}, 1);
          const auto norm = layers::Norm::load(opened(tensors, {device, at::kBFloat16}).scope("norm"),
                                               rms ? layers::NormKind::rms : layers::NormKind::layer, 1e-5, 48);
          CHECK((norm.weight.scalar_type() == at::kFloat));
          const at::Tensor x = numbers.normal({11, 48}, 3) + 1;
          check_close(norm.forward(x.to(device)), plain::norm(tensors, "norm", x.to(at::kDouble), {.rms = rms}), kSameTolerance,
                      rms ? "RMSNorm" : bias ? "LayerNorm with bias" : "LayerNorm");
        }
      }
    }
  }

  TEST_CASE("the epsilon counts: rows near zero do not become noise") {
    const core::Weights weights = opened({{"norm.weight", at::ones({4})}});
    for (const auto kind : {layers::NormKind::rms, layers::NormKind::layer}) {
      const auto norm = layers::Norm::load(weights.scope("norm"), kind, 1e-2, 4);
      check_equal(norm.forward(at::zeros({1, 4})), at::zeros({1, 4}), "zeros");
      const at::Tensor x = at::tensor({1e-3F, -1e-3F, 1e-3F, -1e-3F}).view({1, 4});
      check_close(norm.forward(x), x / std::sqrt(1e-6 + 1e-2), 1e-7, "near zero");
    }
  }
}
