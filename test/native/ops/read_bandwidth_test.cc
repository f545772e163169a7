#include "ops/read_bandwidth.h"

#include <doctest.h>

#include "support/settings.h"

using namespace metavoice;

TEST_SUITE("ops/read_bandwidth") {
  TEST_CASE("nothing read is no bandwidth") {
    CHECK(ops::read_bandwidth(0, 1) == 0);
    CHECK(ops::read_bandwidth(1 << 20, 0) == 0);
  }

  TEST_CASE("memory is faster than a megabyte and slower than an exabyte a second, on every device") {
    for (const at::Device& device : testing::devices()) {
      CAPTURE(device.str());
      CHECK(ops::read_bandwidth(0, 1, device) == 0);
      const double found = ops::read_bandwidth(8 << 20, 3, device);
      CHECK(found > 1e6);
      CHECK(found < 1e18);
    }
  }
}
