// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
// A draw is a pure function of its address, so it does not matter who draws first, on what, or in what company.
#pragma once

#include <array>
#include <cstdint>

namespace metavoice::core {

enum class Stream : uint32_t { first_stage = 1, second_stage = 2, diffusion = 3 };

struct RandomKey {
  uint64_t seed = 0;
  uint32_t segment = 0;
  uint32_t attempt = 0;
};

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

// Uniform in [0, 1) with 53 bits. `lane` tells apart draws of one position: the head of the second stage.
double uniform(const RandomKey& key, Stream stream, uint32_t lane, uint32_t position);

}  // namespace metavoice::core
