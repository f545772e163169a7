#include "ops/paged_attention_head.h"

#include <doctest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <type_traits>

using namespace metavoice;

namespace {

constexpr int64_t kWidth = 72;  // two blocks, and what is left
constexpr int64_t kExtra = 32 * sizeof(float);

// One head over pages of small numbers, whose scales are powers of two in int8, against the formula in double.
template <class T>
void check_head(ops::InstructionSet instructions, int64_t length, double tolerance) {
  constexpr bool kBytes = std::is_same_v<T, int8_t>;
  const int64_t pages = (length + ops::kBlock - 1) / ops::kBlock, side = kWidth * ops::kBlock + (kBytes ? kExtra : 0);
  std::mt19937 random(static_cast<uint32_t>(length));
  std::uniform_int_distribution<int> numbers(-100, 100);
  std::vector<std::vector<T>> memory(static_cast<size_t>(pages), std::vector<T>(static_cast<size_t>(2 * side)));
  std::vector<const T*> found;
  for (std::vector<T>& page : memory) {
    for (T& number : page) number = static_cast<T>(kBytes ? static_cast<float>(numbers(random)) : static_cast<float>(numbers(random)) / 64);
    for (int64_t position = 0; kBytes && position < ops::kBlock; ++position)
      for (const int64_t first : {int64_t{0}, side}) {
        const float scale = position % 2 == 0 ? 0x1.0p-6F : 0x1.0p-7F;
        std::memcpy(page.data() + first + kWidth * ops::kBlock + position * static_cast<int64_t>(sizeof(float)), &scale, sizeof(scale));
      }
    found.push_back(page.data());
  }
  std::vector<float> query(kWidth), scores(static_cast<size_t>(pages * ops::kBlock)), result(kWidth);
  for (float& number : query) number = static_cast<float>(numbers(random)) / 500;
  ops::attend_by<T>(instructions)({query.data(), &found, side, length, kWidth, scores.data(), result.data()});

  const auto scale = [](int64_t position) { return !kBytes ? 1.0 : position % 2 == 0 ? 0x1.0p-6 : 0x1.0p-7; };
  std::vector<double> weights, wanted(kWidth);
  double sum = 0;
  for (int64_t position = 0; position < length; ++position) {
    const T* keys = memory[static_cast<size_t>(position / 32)].data() + position % 32;
    double score = 0;
    for (int64_t i = 0; i < kWidth; ++i) score += static_cast<double>(query[static_cast<size_t>(i)]) * static_cast<double>(static_cast<float>(keys[i * 32]));
    weights.push_back(std::exp(score * scale(position % 32)));
    sum += weights.back();
  }
  for (int64_t position = 0; position < length; ++position) {
    const T* values = memory[static_cast<size_t>(position / 32)].data() + side + position % 32 * kWidth;
    for (int64_t i = 0; i < kWidth; ++i)
      wanted[static_cast<size_t>(i)] += weights[static_cast<size_t>(position)] / sum * scale(position % 32) * static_cast<double>(static_cast<float>(values[i]));
  }
  double worst = 0;
  for (size_t i = 0; i < wanted.size(); ++i) worst = std::max(worst, std::abs(wanted[i] - static_cast<double>(result[i])));
  CHECK(worst < tolerance);
}

}  // namespace

TEST_SUITE("ops/paged_attention_head") {
  TEST_CASE("a head is the formula, for pages of every kind in every set of instructions") {
    for (const ops::InstructionSet instructions : ops::instruction_sets()) {
      CAPTURE(static_cast<int>(instructions));
      for (const int64_t length : {1, 31, 32, 33, 200}) {
        CAPTURE(length);
        check_head<float>(instructions, length, 2e-6);
        check_head<c10::Half>(instructions, length, 2e-6);
        check_head<c10::BFloat16>(instructions, length, 2e-6);
        check_head<int8_t>(instructions, length, 2e-6);
      }
    }
  }
}
