#include "ops/finite.h"

#include <doctest.h>

#include <limits>

#include "support/compare.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("ops/finite") {
  TEST_CASE("sees one bad number wherever it stands, in every dtype") {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        for (const int64_t index : {0, 1, 500, 2562 * 2 - 1}) {
          for (const float bad : {infinity, -infinity, nan}) {
            at::Tensor values = at::linspace(-60000, 60000, 2 * 2562).to(device, dtype).view({2, 2562});
            CHECK(ops::all_finite(values));
            values.view({-1})[index] = bad;
            CHECK_FALSE(ops::all_finite(values));
          }
        }
      }
    }
  }

  TEST_CASE("is not deceived by large finite numbers, nothing, or an odd layout") {
    CHECK(ops::all_finite(at::full({100, 100}, std::numeric_limits<float>::max())));
    CHECK(ops::all_finite(at::empty({0})));
    at::Tensor values = at::ones({4, 6});
    values[1][2] = std::numeric_limits<float>::infinity();
    CHECK(ops::all_finite(values.narrow(1, 3, 3)));
    CHECK_FALSE(ops::all_finite(values.t().narrow(0, 2, 1)));
  }
}
