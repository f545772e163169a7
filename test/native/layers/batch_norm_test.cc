#include "layers/batch_norm.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("layers/batch_norm") {
  TEST_CASE("is a scale and an offset") {
    const Tensors tensors = random_enhancer({}, 7);
    const auto norm = layers::BatchNorm::load(opened(tensors).scope("enc.erb_conv0.2"), 8);
    const at::Tensor x = Numbers(8).normal({8, 3, 5}, 1);
    const at::Tensor found = x * norm.scale.view({-1, 1, 1}) + norm.offset.view({-1, 1, 1});
    check_close(found, plain::batch_norm(tensors, "enc.erb_conv0.2", x.to(at::kDouble)), kSameTolerance, "normalised");
  }

  TEST_CASE("refuses other channels") {
    check_refused([] { layers::BatchNorm::load(opened(random_enhancer({}, 7)).scope("enc.erb_conv0.2"), 9); }, "ERR_CHECKPOINT", "[9] but found [8]");
  }
}
