#include "core/stop.h"

#include <doctest.h>

#include "support/compare.h"

using metavoice::core::require_wanted;
using metavoice::testing::check_refused;

TEST_SUITE("core/stop") {
  TEST_CASE("work goes on until it is stopped, and to its end where nobody can") {
    require_wanted({});
    bool stopped = false;
    const auto asked = [&] { return stopped; };
    require_wanted(asked);
    stopped = true;
    check_refused([&] { require_wanted(asked); }, "ABORT_ERR", "cancelled");
  }
}
