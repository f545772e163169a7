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

  wrong = 0;
  for (int first = 0; first < kPatterns; first += 8) {
    std::array<float, 8> wide{};
    ops::put(ops::floats8(numbers.data() + first), wide.data());
    for (int lane = 0; lane < 8; ++lane) {
      const auto expected = static_cast<float>(numbers[first + lane]);
      if (std::isfinite(expected) && std::memcmp(&expected, &wide[lane], sizeof(float)) != 0) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

// Floats of every size, and those around the middle between two 16-bit numbers, rounded as c10 rounds them.
template <class Narrow>
void check_narrowing() {
  std::vector<float> wide;
  const auto add = [&](uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    wide.push_back(value);
  };
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 9973) add(static_cast<uint32_t>(bits));
  for (uint32_t high = 0; high < (1U << 19); ++high)
    for (const uint32_t low : {0U, 1U, 0xFFFU, 0x1000U, 0x1001U, 0x1FFFU}) add(high << 13 | low);
  while (wide.size() % 8 != 0) wide.push_back(0);
  int wrong = 0;
  for (size_t first = 0; first < wide.size(); first += 8) {
    std::array<Narrow, 8> found{};
    ops::put(ops::floats8(wide.data() + first), found.data());
    for (size_t lane = 0; lane < 8; ++lane) {
      const auto expected = static_cast<Narrow>(wide[first + lane]);
      if (std::isnan(wide[first + lane]) ? !std::isnan(static_cast<float>(found[lane])) : found[lane].x != expected.x) ++wrong;
    }
  }
  CHECK(wrong == 0);
}

}  // namespace

TEST_SUITE("ops/vectors") {
  TEST_CASE("every finite 16-bit number is widened to the same float, subnormal ones and both zeros too") {
    check_widening<c10::Half>();
    check_widening<c10::BFloat16>();
  }

  TEST_CASE("every float is rounded to the nearest 16-bit number, to even in the middle; what is no number stays none") {
    check_narrowing<c10::Half>();
    check_narrowing<c10::BFloat16>();
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
