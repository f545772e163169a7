#include "ops/read_bandwidth.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace metavoice::ops {

namespace {

// Two words at a time; word by word the processor would be measured, not the memory.
using Pair = uint64_t __attribute__((vector_size(16), aligned(8), may_alias));

// Four sums, so that additions never wait for each other.
uint64_t sum_of(const uint64_t* words, int64_t count) {
  Pair a{}, b{}, c{}, d{};
  for (int64_t i = 0; i + 8 <= count; i += 8) {
    const auto* pairs = reinterpret_cast<const Pair*>(words + i);
    a += pairs[0];
    b += pairs[1];
    c += pairs[2];
    d += pairs[3];
  }
  const Pair sum = a + b + c + d;
  return sum[0] + sum[1];
}

}  // namespace

double read_bandwidth(int64_t bytes, int rounds) {
  const std::vector<uint64_t> words(static_cast<size_t>(bytes / 8), 1);
  // libtorch's parallel_for is a template: compiled without OpenMP, as we are, it would run on one thread.
  const auto threads = static_cast<int64_t>(std::max(1, at::get_num_threads()));
  const int64_t share = static_cast<int64_t>(words.size()) / threads;
  double best = 0;
  std::atomic<uint64_t> seen{0};  // keeps the sums alive
  for (int round = 0; round < rounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::jthread> running;
    for (int64_t i = 0; i < threads; ++i) running.emplace_back([&, i] { seen += sum_of(words.data() + i * share, share); });
    running.clear();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(share * threads) * 8 / seconds);
  }
  return seen.load() > 0 ? best : 0;
}

double read_bandwidth(int64_t bytes, int rounds, c10::Device device) {
  if (device.is_cpu()) return read_bandwidth(bytes, rounds);
  constexpr int kSums = 8;  // a launch and the way back take a while, too
  const at::Tensor numbers = at::ones({bytes / 4}, at::TensorOptions().device(device).dtype(at::kFloat));
  double best = 0;
  for (int round = 0; round < rounds && bytes > 0; ++round) {
    at::Tensor sum = numbers.sum();
    sum.item();  // everything before is done
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kSums; ++i) sum = numbers.sum();
    sum.item();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(bytes) * kSums / seconds);
  }
  return best;
}

}  // namespace metavoice::ops
