#include "models/encodec/quantizer.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::encodec::Quantizer;

namespace {

Quantizer golden_quantizer(at::Device device) { return Quantizer(model_weights("codec", device).scope("quantizer"), 8); }

}  // namespace

TEST_SUITE("models/encodec/quantizer") {
  TEST_CASE("refuses more codebooks than are stored, none, and tables of different sizes") {
    const Tensors tensors = {{"0.embed", at::ones({4, 3})}, {"1.embed", at::ones({4, 3})}};
    const core::Weights weights = opened(tensors);
    check_refused([&] { Quantizer(weights, 3); }, "ERR_CHECKPOINT", "expected 3 codebooks in the codec but found 2");
    check_refused([&] { Quantizer(weights, 0); }, "ERR_CHECKPOINT", "expected 0 codebooks");
    check_refused([&] { Quantizer(opened({}), 1); }, "ERR_CHECKPOINT", "expected 1 codebooks in the codec but found 0");
    check_refused([&] { Quantizer(opened({{"0.embed", at::ones({4, 3})}, {"1.embed", at::ones({5, 3})}}), 1); }, "ERR_CHECKPOINT", "1.embed");
  }

  TEST_CASE("refuses codes of another number of codebooks") {
    const Quantizer quantizer(opened({{"0.embed", at::ones({4, 3})}, {"1.embed", at::ones({4, 3})}}), 2);
    check_refused([&] { quantizer.decode(at::zeros({1, 5}, at::kLong)); }, "ERR_INTERNAL", "every codebook");
    check_refused([&] { quantizer.decode(at::zeros({5}, at::kLong)); }, "ERR_INTERNAL", "every codebook");
  }

  TEST_CASE("uses the first codebooks of those stored, and reads the others") {
    const core::Weights weights = opened({{"0.embed", at::ones({4, 3})}, {"1.embed", at::ones({4, 3})}, {"2.embed", at::ones({4, 3})}});
    CHECK(Quantizer(weights, 2).codebooks() == 2);
    CHECK_NOTHROW(weights.require_all_used());
  }

  TEST_CASE("gives the golden codes of the golden latent, and the golden latent of the random codes") {
    for (const at::Device& device : devices()) {
      const Quantizer quantizer = golden_quantizer(device);
      check_equal(quantizer.encode(golden("codec", "encoder").to(device)).cpu(), golden("codec", "codes").to(at::kLong), "codes on " + device.str());
      check_close(quantizer.decode(golden("codec", "random_codes").to(device, at::kLong)).cpu(), golden("codec", "random_latent"), 1e-5, "latent on " + device.str());
    }
  }

  TEST_CASE("each codebook codes what the ones before it left over") {
    Numbers numbers(81);
    const at::Tensor first = numbers.normal({8, 3}, 1), second = numbers.normal({8, 3}, 0.2);
    const Quantizer quantizer(opened({{"0.embed", first}, {"1.embed", second}}), 2);
    const at::Tensor latent = numbers.normal({3, 20}, 1), codes = quantizer.encode(latent);
    for (int64_t t = 0; t < 20; ++t) {
      const auto nearest = [](const at::Tensor& table, const at::Tensor& point) { return (table - point).square().sum(1).argmin().item<int64_t>(); };
      const at::Tensor point = latent.select(1, t);
      CHECK(codes[0][t].item<int64_t>() == nearest(first, point));
      CHECK(codes[1][t].item<int64_t>() == nearest(second, point - first[codes[0][t].item<int64_t>()]));
    }
  }

  TEST_CASE("of two equally near entries the first is taken") {
    const Quantizer quantizer(opened({{"0.embed", at::tensor({5.0F, 1.0F, 1.0F}).view({3, 1})}}), 1);
    CHECK(quantizer.encode(at::ones({1, 1}))[0][0].item<int64_t>() == 1);
  }
}
