#include "ops/vectors.h"

#include <doctest.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

using namespace metavoice;

namespace {

constexpr int kPatterns = 1 << 16;

// Every 16-bit number there is, widened sixteen at a time, with the bits that c10 gives it alone.
template <class Narrow>
void check_widening() {
  std::vector<Narrow> numbers;
  for (int bits = 0; bits < kPatterns; ++bits) numbers.emplace_back(static_cast<uint16_t>(bits), Narrow::from_bits());
  int wrong = 0, finite = 0;
  for (int first = 0; first < kPatterns; first += ops::kLanes) {
    std::array<float, ops::kLanes> wide{};
    const ops::Floats vector = ops::floats(numbers.data() + first);
    std::memcpy(wide.data(), &vector, sizeof(vector));
    for (int lane = 0; lane < ops::kLanes; ++lane) {
      const auto expected = static_cast<float>(numbers[first + lane]);
      if (!std::isfinite(expected)) continue;
      ++finite;
      if (std::memcmp(&expected, &wide[lane], sizeof(float)) != 0) ++wrong;
    }
  }
  CHECK(wrong == 0);
  // All but those whose exponent is all ones.
  CHECK(finite > kPatterns * 9 / 10);
}

}  // namespace

TEST_SUITE("ops/vectors") {
  TEST_CASE("every finite 16-bit number is widened to the same float, subnormal ones and both zeros too") {
    check_widening<c10::Half>();
    check_widening<c10::BFloat16>();
  }

  TEST_CASE("float32 is read as it lies, from any address") {
    std::vector<float> numbers(ops::kLanes + 3);
    for (size_t k = 0; k < numbers.size(); ++k) numbers[k] = static_cast<float>(k) - 1.5F;
    for (int offset = 0; offset < 3; ++offset) {
      const ops::Floats vector = ops::floats(numbers.data() + offset);
      for (int lane = 0; lane < ops::kLanes; ++lane) CHECK(vector[lane] == numbers[offset + lane]);
    }
  }
}
