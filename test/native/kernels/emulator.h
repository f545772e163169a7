// CUDA's blocks on the host, so that the kernels' logic is tried where there is no GPU: each thread of a block is a fiber,
// and a barrier or an exchange between lanes lets the others come up to it. Forced into every file that a host compiler
// makes of the kernels; slow, and no model of memory or of races.
#pragma once

#include <csetjmp>
#include <cuda_runtime.h>
#include <ucontext.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#undef __shared__
#define __shared__ static
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __forceinline__
#define __forceinline__ inline

namespace emulated {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

inline Index thread_index, block_index;

// A copy that arrives when it is waited for, and not before.
struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

struct Barrier {
  int arrived = 0;
  int64_t generation = 0;
};

// Begins by its context. From then on it jumps, for a change of contexts is a call of the system.
struct Fiber {
  ucontext_t context;
  std::jmp_buf place;
  std::vector<char> stack;
  bool ended = false;
  std::deque<std::vector<Copy>> groups;  // the last one is still open
};

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  std::function<void()> body;
  ucontext_t scheduler;
  std::jmp_buf scheduler_place;
  int current = 0;
  int alive = 0;
  Barrier barrier;
  std::vector<Barrier> warps;
  std::vector<std::array<std::array<uint32_t, 8>, 32>> slots;
};

inline Block block;

inline void yield() {
  if (_setjmp(block.fibers[static_cast<size_t>(block.current)]->place) == 0) _longjmp(block.scheduler_place, 1);
}

inline void go_on(Fiber& fiber) {
  if (_setjmp(block.scheduler_place) == 0) _longjmp(fiber.place, 1);
}

inline void wait(Barrier& barrier, const std::function<int()>& expected) {
  const int64_t generation = barrier.generation;
  ++barrier.arrived;
  while (barrier.generation == generation) {
    if (barrier.arrived >= expected()) {
      barrier.arrived = 0;
      ++barrier.generation;
      return;
    }
    yield();
  }
}

// A fiber does its part of one block after another.
inline void enter() {
  for (;;) {
    yield();
    block.body();
    block.fibers[static_cast<size_t>(block.current)]->ended = true;
    --block.alive;
  }
}

inline void add_fiber() {
  block.fibers.push_back(std::make_unique<Fiber>());
  Fiber& fiber = *block.fibers.back();
  fiber.stack.resize(64 * 1024);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.data();
  fiber.context.uc_stack.ss_size = fiber.stack.size();
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, enter, 0);
  block.current = static_cast<int>(block.fibers.size()) - 1;
  if (_setjmp(block.scheduler_place) == 0) swapcontext(&block.scheduler, &fiber.context);
}

inline void run_block(int threads, const std::function<void()>& body) {
  while (block.fibers.size() < static_cast<size_t>(threads)) add_fiber();
  block.body = body;
  block.alive = threads;
  block.barrier = {};
  block.warps.assign(static_cast<size_t>(threads / 32), {});
  block.slots.resize(static_cast<size_t>(threads / 32));
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = *block.fibers[static_cast<size_t>(i)];
    fiber.ended = false;
    fiber.groups.assign(1, {});
  }
  while (block.alive > 0)
    for (int i = 0; i < threads; ++i) {
      Fiber& fiber = *block.fibers[static_cast<size_t>(i)];
      if (fiber.ended) continue;
      block.current = i;
      thread_index = {static_cast<unsigned>(i), 0, 0};
      go_on(fiber);
    }
}

inline std::vector<uint64_t> shared;
inline void* shared_memory() { return shared.data(); }

template <class Body>
void run(dim3 grid, unsigned threads, int shared_bytes, const Body& body) {
  shared.assign(static_cast<size_t>(shared_bytes) / 8 + 2, ~uint64_t{0});
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        block_index = {x, y, z};
        run_block(static_cast<int>(threads), body);
      }
}

// Eight words of every lane of this lane's warp.
inline std::array<std::array<uint32_t, 8>, 32> exchange(const std::array<uint32_t, 8>& words) {
  const auto warp = static_cast<size_t>(block.current / 32);
  block.slots[warp][static_cast<size_t>(block.current % 32)] = words;
  wait(block.warps[warp], [] { return 32; });
  const auto all = block.slots[warp];
  wait(block.warps[warp], [] { return 32; });
  return all;
}

inline uint32_t bits(float value) {
  uint32_t result;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}
inline float number(uint32_t value) {
  float result;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}

inline Fiber& fiber() { return *block.fibers[static_cast<size_t>(block.current)]; }
inline void copy_ahead(void* to, const void* from, size_t bytes) { fiber().groups.back().push_back({to, from, bytes}); }
inline void end_of_group() { fiber().groups.emplace_back(); }
inline void wait_for_groups(int left) {
  auto& groups = fiber().groups;
  while (static_cast<int>(groups.size()) - 1 > left) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, copy.bytes);
    groups.pop_front();
  }
}

// m16n8k16: the fragments as PTX documents them.
template <class Pair>
void multiply(float (&sums)[4], const std::array<uint32_t, 4>& a, const std::array<uint32_t, 2>& b) {
  const auto all = exchange({a[0], a[1], a[2], a[3], b[0], b[1], 0, 0});
  const size_t lane = static_cast<size_t>(block.current % 32), group = lane / 4, part = lane % 4;
  for (size_t i = 0; i < 4; ++i) {
    const size_t row = group + i / 2 * 8, column = 2 * part + i % 2;
    float sum = sums[i];
    for (size_t k = 0; k < 16; ++k) {
      const size_t owner = k % 8 / 2;
      float x[2], y[2];
      Pair::widen(all[row % 8 * 4 + owner][row / 8 + k / 8 * 2], x[0], x[1]);
      Pair::widen(all[column * 4 + owner][4 + k / 8], y[0], y[1]);
      sum += x[k % 2] * y[k % 2];
    }
    sums[i] = sum;
  }
}

}  // namespace emulated

#define threadIdx (::emulated::thread_index)
#define blockIdx (::emulated::block_index)

inline void __syncthreads() {
  emulated::wait(emulated::block.barrier, [] { return emulated::block.alive; });
}
inline void __syncwarp() { emulated::wait(emulated::block.warps[static_cast<size_t>(emulated::block.current / 32)], [] { return 32; }); }
inline float __shfl_xor_sync(unsigned, float value, int mask) {
  return emulated::number(emulated::exchange({emulated::bits(value)})[static_cast<size_t>(emulated::block.current % 32 ^ mask)][0]);
}
inline float __shfl_sync(unsigned, float value, int lane) {
  return emulated::number(emulated::exchange({emulated::bits(value)})[static_cast<size_t>(lane)][0]);
}
inline unsigned long long __shfl_xor_sync(unsigned, unsigned long long value, int mask) {
  const auto all = emulated::exchange({static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)});
  const auto& words = all[static_cast<size_t>(emulated::block.current % 32 ^ mask)];
  return static_cast<unsigned long long>(words[1]) << 32 | words[0];
}
// A lane without one so far below it gets its own.
inline unsigned long long __shfl_up_sync(unsigned, unsigned long long value, unsigned distance) {
  const auto all = emulated::exchange({static_cast<uint32_t>(value), static_cast<uint32_t>(value >> 32)});
  const auto lane = static_cast<unsigned>(emulated::block.current % 32);
  const auto& words = all[lane >= distance ? lane - distance : lane];
  return static_cast<unsigned long long>(words[1]) << 32 | words[0];
}
inline int atomicAdd(int* to, int value) {
  const int before = *to;
  *to += value;
  return before;
}
inline void __threadfence() {}
template <class T>
T __ldcg(const T* from) {
  return *from;
}
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float rsqrtf(float value) { return 1.0F / std::sqrt(value); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
