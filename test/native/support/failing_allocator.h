// Memory that runs out: the n-th allocation fails, of tensors (libtorch's allocator) or of everything else (operator new).
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <cstddef>
#include <cstdint>

namespace metavoice::testing {

// Allocations of this thread until one fails: the `left`-th, once. 0 is never.
struct Countdown {
  int64_t left = 0;
  bool failed = false;

  void arm(int64_t n) { *this = {n, false}; }
  // Disarms; whether it had failed.
  bool disarm() {
    left = 0;
    return failed;
  }
  bool fails_now() {
    if (left == 0 || --left > 0) return false;
    failed = true;
    return true;
  }
};

inline thread_local Countdown tensor_countdown;  // libtorch's allocator of the CPU
inline thread_local Countdown object_countdown;  // operator new

// While it lives, libtorch allocates through it.
class FailingAllocator final : public c10::Allocator {
 public:
  FailingAllocator() : real_(c10::GetCPUAllocator()) { c10::SetCPUAllocator(this, 100); }
  ~FailingAllocator() override { c10::SetCPUAllocator(real_, 100); }

  c10::DataPtr allocate(size_t bytes) override {
    TORCH_CHECK(!tensor_countdown.fails_now(), "DefaultCPUAllocator: can't allocate memory: you tried to allocate ", bytes, " bytes");
    return real_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return real_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override { real_->copy_data(to, from, bytes); }

 private:
  c10::Allocator* real_;
};

}  // namespace metavoice::testing
