#include "core/team.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <thread>

namespace metavoice::core {

namespace {

using Work = c10::function_ref<void(int64_t, int64_t)>;

// Longer than what lies between two products of a step, and no burden on others.
constexpr auto kLookout = std::chrono::microseconds(100);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class Team {
 public:
  // False where others are at work, or this is part of it.
  bool run(int64_t count, int64_t piece, Work work, int helpers) {
    if (busy_.exchange(true, std::memory_order_acquire)) return false;
    count_ = count;
    piece_ = piece;
    work_ = &work;
    helpers_ = helpers;
    failure_ = nullptr;
    failed_.store(false, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    try {
      for (; started_ < helpers; ++started_) std::thread([this, index = started_] { help(index); }).detach();
    } catch (const std::exception&) {
      // Fewer will do.
    }
    door_.fetch_or(kOpen, std::memory_order_release);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    take_pieces();
    // Nobody enters any more; those inside finish the piece that they have.
    door_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int looks = 0; door_.load(std::memory_order_acquire) != 0; ++looks) {
      if (looks < 1000) pause();
      else std::this_thread::yield();
    }
    const std::exception_ptr failure = failure_;
    busy_.store(false, std::memory_order_release);
    if (failure) std::rethrow_exception(failure);
    return true;
  }

 private:
  static constexpr uint32_t kOpen = 1, kInside = 2;  // the door's lowest bit; each helper inside counts two

  [[noreturn]] void help(int index) {
    for (uint32_t seen = 0;;) {
      seen = next_round(seen);
      uint32_t door = door_.load(std::memory_order_relaxed);
      bool inside = false;
      while (!inside && (door & kOpen) != 0)
        inside = door_.compare_exchange_weak(door, door + kInside, std::memory_order_acquire, std::memory_order_relaxed);
      if (!inside) continue;
      if (index < helpers_) take_pieces();
      door_.fetch_sub(kInside, std::memory_order_release);
    }
  }

  uint32_t next_round(uint32_t seen) {
    const auto until = std::chrono::steady_clock::now() + kLookout;
    do {
      for (int looks = 0; looks < 32; ++looks, pause())
        if (const uint32_t round = round_.load(std::memory_order_acquire); round != seen) return round;
    } while (std::chrono::steady_clock::now() < until);
    round_.wait(seen, std::memory_order_acquire);
    return round_.load(std::memory_order_acquire);
  }

  void take_pieces() {
    try {
      for (;;) {
        const int64_t begin = next_.fetch_add(piece_, std::memory_order_relaxed);
        if (begin >= count_) return;
        (*work_)(begin, std::min(count_, begin + piece_));
      }
    } catch (...) {
      next_.store(count_, std::memory_order_relaxed);
      if (!failed_.exchange(true, std::memory_order_acq_rel)) failure_ = std::current_exception();
    }
  }

  std::atomic<bool> busy_{false};
  int started_ = 0;

  // The work; changed while the door is shut and nobody is inside.
  int64_t count_ = 0, piece_ = 0;
  Work* work_ = nullptr;
  int helpers_ = 0;
  std::exception_ptr failure_;
  std::atomic<bool> failed_{false};

  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> door_{0};
  alignas(64) std::atomic<uint32_t> round_{0};
};

}  // namespace

void share_work(int64_t count, int64_t piece, Work work) {
  if (count <= 0) return;
  piece = std::max<int64_t>(1, piece);
  // Never taken down: its threads may outlive whoever called first, and end with the process.
  static Team* const team = new Team;
  const int helpers = static_cast<int>(std::min<int64_t>(at::get_num_threads(), (count + piece - 1) / piece)) - 1;
  if (helpers < 1 || !team->run(count, piece, work, helpers)) work(0, count);
}

}  // namespace metavoice::core
