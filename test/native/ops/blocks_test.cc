#include "ops/blocks.h"

#include <doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

using namespace metavoice;

namespace {

// Each of these, spread and put in order again, from any address, with the bits that it has alone.
template <class T>
void check_spread(const std::vector<T>& numbers) {
  int wrong = 0;
  for (size_t first = 0; first + ops::kBlock <= numbers.size(); first += 31) {
    std::array<float, ops::kBlock> found{};
    ops::put_in_order<T>(ops::spread(numbers.data() + first), found.data());
    for (size_t i = 0; i < found.size(); ++i) {
      const float expected = static_cast<float>(numbers[first + i]) * ops::kSpreadBy<T>;
      const bool same = std::isnan(expected) ? std::isnan(found[i]) : std::memcmp(&expected, &found[i], sizeof(float)) == 0;
      if (!same) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

template <class Narrow>
std::vector<Narrow> all_patterns() {
  std::vector<Narrow> numbers;
  for (int bits = 0; bits < (1 << 16); ++bits) numbers.emplace_back(static_cast<uint16_t>(bits), Narrow::from_bits());
  return numbers;
}

}  // namespace

TEST_SUITE("ops/blocks") {
  TEST_CASE("every number of 16 and of 8 bits is spread to its float, in the order in which it lies") {
    check_spread(all_patterns<c10::Half>());
    check_spread(all_patterns<c10::BFloat16>());
    std::vector<int8_t> bytes;
    for (int value = 0; value < 1000; ++value) bytes.push_back(static_cast<int8_t>(value * 7));
    check_spread(bytes);
    std::vector<float> floats;
    for (int value = 0; value < 200; ++value) floats.push_back(static_cast<float>(value) * 0.37F - 30);
    check_spread(floats);
  }
}
