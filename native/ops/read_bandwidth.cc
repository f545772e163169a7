#include "ops/read_bandwidth.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

namespace metavoice::ops {

namespace {

// Eight sums, so that additions never wait for each other; integers, so that the compiler may use vectors.
uint64_t sum_of(const uint64_t* words, int64_t count) {
  uint64_t sums[8] = {};
  for (int64_t i = 0; i + 8 <= count; i += 8)
    for (int lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
  uint64_t total = 0;
  for (const uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double read_bandwidth(int64_t bytes, int rounds) {
  const std::vector<uint64_t> words(static_cast<size_t>(bytes / 8), 1);
  const auto count = static_cast<int64_t>(words.size());
  double best = 0;
  std::atomic<uint64_t> seen{0};  // keeps the sums alive
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    at::parallel_for(0, count, 1 << 20, [&](int64_t begin, int64_t end) { seen += sum_of(words.data() + begin, end - begin); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(count) * 8 / seconds);
  }
  return seen.load() > 0 ? best : 0;
}

}  // namespace metavoice::ops
