#include "layers/grouped_linear.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("layers/grouped_linear") {
  TEST_CASE("reads its groups from the file") {
    const at::Tensor x = Numbers(3).normal({5, 24}, 1);
    for (const int64_t groups : {1, 2, 4, 12}) {
      const Tensors tensors = {{"linear.weight", Numbers(4).normal({groups, 24 / groups, 36 / groups}, 1)}};
      const auto linear = layers::GroupedLinear::load(opened(tensors), "linear.weight", 24, 36);
      CHECK(linear.groups == groups);
      at::Tensor found = at::empty({5, 36});
      linear.forward(x.const_data_ptr<float>(), 5, found.data_ptr<float>());
      check_close(found, plain::grouped(tensors, "linear", x.to(at::kDouble)), kSameTolerance, std::to_string(groups) + " groups");
    }
  }

  TEST_CASE("adds the bias that it is given") {
    const auto linear = layers::GroupedLinear::of(at::ones({2, 1, 2}), at::tensor({1.0F, 2.0F, 3.0F, 4.0F}));
    const float x[] = {10, 20};
    float y[4];
    linear.forward(x, 1, y);
    check_equal(at::tensor(at::ArrayRef<float>(y, 4)), at::tensor({11.0F, 12.0F, 23.0F, 24.0F}), "y");
  }

  TEST_CASE("refuses groups that the widths do not have") {
    const Tensors tensors = {{"linear.weight", at::ones({5, 4, 6})}};
    check_refused([&] { layers::GroupedLinear::load(opened(tensors), "linear.weight", 24, 36); }, "ERR_CHECKPOINT", "to divide 24 but found 5");
    check_refused([&] { layers::GroupedLinear::load(opened({{"linear.weight", at::ones({4, 4, 9})}}), "linear.weight", 24, 36); }, "ERR_CHECKPOINT", "[4, 6, 9] but found [4, 4, 9]");
  }
}
