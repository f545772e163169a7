#include "ops/instruction_set.h"

#include <doctest.h>

#include <algorithm>

using namespace metavoice;
using ops::InstructionSet;

TEST_SUITE("ops/instruction_set") {
  TEST_CASE("every processor runs the baseline, and what runs more runs what is below it") {
    const std::vector<InstructionSet> all = ops::instruction_sets();
    REQUIRE_FALSE(all.empty());
    CHECK(all.front() == InstructionSet::baseline);
    for (size_t i = 0; i < all.size(); ++i) CHECK(all[i] == static_cast<InstructionSet>(i));
  }
}
