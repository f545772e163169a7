#include "ops/sigmoid.h"

#include <doctest.h>

#include <initializer_list>

using namespace metavoice;

TEST_SUITE("ops/sigmoid") {
  TEST_CASE("sigmoid and tangent are theirs, up to where nothing changes any more") {
    for (float x = -20; x <= 20; x += 0.0173F) {
      CHECK(std::abs(ops::sigmoid(x) - 1 / (1 + std::exp(-static_cast<double>(x)))) < 1e-7);
      CHECK(std::abs(ops::hyperbolic_tangent(x) - std::tanh(static_cast<double>(x))) < 2e-7);
    }
    CHECK(ops::hyperbolic_tangent(0) == 0.0F);
    for (const float x : {100.0F, 1e30F, INFINITY}) {
      CHECK(ops::sigmoid(x) == 1.0F);
      CHECK(ops::sigmoid(-x) == 0.0F);
      CHECK(ops::hyperbolic_tangent(x) == 1.0F);
      CHECK(ops::hyperbolic_tangent(-x) == -1.0F);
    }
    CHECK(std::isnan(ops::hyperbolic_tangent(NAN)));
  }
}
