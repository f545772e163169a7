#include "ops/read_bandwidth.h"

#include <doctest.h>

using namespace metavoice;

TEST_SUITE("ops/read_bandwidth") {
  TEST_CASE("nothing read is no bandwidth") {
    CHECK(ops::read_bandwidth(0, 1) == 0);
    CHECK(ops::read_bandwidth(1 << 20, 0) == 0);
  }

  TEST_CASE("memory is faster than a megabyte and slower than an exabyte a second") {
    const double found = ops::read_bandwidth(8 << 20, 3);
    CHECK(found > 1e6);
    CHECK(found < 1e18);
  }
}
