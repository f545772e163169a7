#include "core/random.h"

namespace metavoice::core {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr uint64_t kFirst = 0xD2511F53, kSecond = 0xCD9E8D57;
  constexpr uint32_t kGolden = 0x9E3779B9, kRootThree = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = kFirst * counter[0], b = kSecond * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key[0] += kGolden;
    key[1] += kRootThree;
  }
  return counter;
}

double uniform(const RandomKey& key, Stream stream, uint32_t lane, uint32_t position) {
  const auto words = philox({position, (static_cast<uint32_t>(stream) << 24) | lane, key.segment, key.attempt},
                            {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
  const uint64_t bits = (static_cast<uint64_t>(words[0]) << 32 | words[1]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace metavoice::core
