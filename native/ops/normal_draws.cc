#include "ops/normal_draws.h"

#include <ATen/ATen.h>

#include <array>
#include <numbers>

#include "core/error.h"

namespace metavoice::ops {

namespace {

constexpr int64_t kWord = 0xFFFFFFFF;  // words of 32 bits live in the lower half of int64
constexpr int64_t kPerBlock = 4;

struct Product {
  at::Tensor high;
  at::Tensor low;
};

Product multiply(const at::Tensor& word, int64_t factor) {
  const at::Tensor product = word * factor;  // modulo 2^64
  return {product.bitwise_right_shift(32).bitwise_and_(kWord), product.bitwise_and(kWord)};
}

// core::philox of many counters.
std::array<at::Tensor, 4> philox(std::array<at::Tensor, 4> counter, uint64_t seed) {
  auto first = static_cast<uint32_t>(seed), second = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const Product a = multiply(counter[0], 0xD2511F53), b = multiply(counter[2], 0xCD9E8D57);
    counter = {b.high.bitwise_xor(counter[1]).bitwise_xor(static_cast<int64_t>(first)), b.low,
               a.high.bitwise_xor(counter[3]).bitwise_xor(static_cast<int64_t>(second)), a.low};
    first += 0x9E3779B9;
    second += 0xBB67AE85;
  }
  return counter;
}

// Two words as two independent normals.
std::array<at::Tensor, 2> box_muller(const at::Tensor& one, const at::Tensor& other) {
  const at::Tensor radius = at::sqrt(at::log((one.to(at::kDouble) + 1) * 0x1.0p-32) * -2);  // of (0, 1]: never infinite
  const at::Tensor angle = other.to(at::kDouble) * (2 * std::numbers::pi * 0x1.0p-32);
  return {radius * at::cos(angle), radius * at::sin(angle)};
}

}  // namespace

at::Tensor normal_draws(const core::RandomKey& key, core::Stream stream, int64_t first_lane, int64_t lanes, int64_t first,
                        int64_t count, const at::Device& device) {
  core::require(first_lane >= 0 && first_lane + lanes <= (int64_t{1} << 24) && first >= 0 && first + count <= (kWord + 1) * kPerBlock,
                "an address of a draw");
  const at::TensorOptions words = at::TensorOptions().dtype(at::kLong).device(device);
  const int64_t block = first / kPerBlock, blocks = (first + count + kPerBlock - 1) / kPerBlock - block;
  const at::Tensor lane = at::arange(first_lane, first_lane + lanes, words).unsqueeze(1) + (static_cast<int64_t>(stream) << 24);
  const auto drawn = philox({at::arange(block, block + blocks, words).unsqueeze(0), lane,
                             at::full({1, 1}, static_cast<int64_t>(key.segment), words),
                             at::full({1, 1}, static_cast<int64_t>(key.attempt), words)},
                            key.seed);
  const auto left = box_muller(drawn[0], drawn[1]), right = box_muller(drawn[2], drawn[3]);
  const at::Tensor all = at::stack({left[0], left[1], right[0], right[1]}, 2).to(at::kFloat);  // [lanes, blocks, 4]
  return all.view({lanes, blocks * kPerBlock}).narrow(1, first - block * kPerBlock, count);
}

}  // namespace metavoice::ops
