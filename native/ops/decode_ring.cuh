// Numbers of a matrix on their way from device memory: each lane asks for its own, some steps before it uses them. From
// compute capability 8.0 they go to shared memory (cp.async), which holds more than registers do and lets a lane wait for the
// oldest alone; before it, to registers.
#pragma once

#include "ops/decode_weights.cuh"

namespace metavoice::decode {

#ifdef METAVOICE_EMULATED
template <int kBytes>
__device__ void copy_ahead(void* to, const void* from) {
  emulated::copy_ahead(to, from, kBytes);
}
__device__ inline void end_of_group() { emulated::end_of_group(); }
template <int kLeft>
__device__ void wait_for_groups() {
  emulated::wait_for_groups(kLeft);
}
#else
template <int kBytes>
__device__ __forceinline__ void copy_ahead(void* to, const void* from) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const auto shared = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (kBytes == 16) asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared), "l"(from) : "memory");
  else asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(shared), "l"(from), "n"(kBytes) : "memory");
#endif
}
__device__ __forceinline__ void end_of_group() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until at most kLeft groups of this thread are on their way.
template <int kLeft>
__device__ __forceinline__ void wait_for_groups() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
}
#endif

// Two rows of a matrix, with the scales of their groups where it has such.
template <class Weights>
struct Taken {
  typename Weights::Raw upper, lower;
  uint32_t scales[2];
};

struct Source {
  const uint8_t* upper;
  const uint8_t* lower;
  const uint32_t* upper_scale;
  const uint32_t* lower_scale;
};

#if METAVOICE_TURING_CODE

template <class Weights, int kAhead>
class Ring {
 public:
  static constexpr int kBytes = 0;

  __device__ __forceinline__ void open(uint8_t*) {}
  // `slot` is known to the compiler.
  __device__ __forceinline__ void ask(int slot, const Source& from) {
    slots_[slot].upper = Weights::read(from.upper);
    slots_[slot].lower = Weights::read(from.lower);
    if constexpr (Weights::kGroups) {
      slots_[slot].scales[0] = *from.upper_scale;
      slots_[slot].scales[1] = *from.lower_scale;
    }
  }
  __device__ __forceinline__ void end_of_step() {}
  __device__ __forceinline__ Taken<Weights> take(int slot) const { return slots_[slot]; }

 private:
  Taken<Weights> slots_[kAhead];
};

#else

template <class Weights, int kAhead>
class Ring {
 public:
  static constexpr int kWords = static_cast<int>(sizeof(typename Weights::Raw) / 16);
  static constexpr int kSlotBytes = 32 * (2 * 16 * kWords + (Weights::kGroups ? 8 : 0));
  static constexpr int kBytes = kAhead * kSlotBytes;  // of a warp

  // `shared`: of this warp.
  __device__ __forceinline__ void open(uint8_t* shared) { shared_ = shared + static_cast<int>(threadIdx.x) % 32 * 16; }

  // Exactly one end_of_step() after each slot, also after one that nothing was asked for.
  __device__ __forceinline__ void ask(int slot, const Source& from) {
    uint8_t* to = shared_ + slot * kSlotBytes;
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      copy_ahead<16>(to + i * 512, from.upper + 16 * i);
      copy_ahead<16>(to + (kWords + i) * 512, from.lower + 16 * i);
    }
    if constexpr (Weights::kGroups) {
      copy_ahead<4>(scales(slot), from.upper_scale);
      copy_ahead<4>(scales(slot) + 1, from.lower_scale);
    }
  }
  __device__ __forceinline__ void end_of_step() { end_of_group(); }

  // Waits for the oldest slot, which this must be.
  __device__ __forceinline__ Taken<Weights> take(int slot) const {
    wait_for_groups<kAhead - 1>();
    Taken<Weights> result;
    const uint8_t* from = shared_ + slot * kSlotBytes;
    auto* upper = reinterpret_cast<uint4*>(&result.upper);
    auto* lower = reinterpret_cast<uint4*>(&result.lower);
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      upper[i] = load_words(from + i * 512);
      lower[i] = load_words(from + (kWords + i) * 512);
    }
    if constexpr (Weights::kGroups) {
      result.scales[0] = scales(slot)[0];
      result.scales[1] = scales(slot)[1];
    }
    return result;
  }

 private:
  __device__ __forceinline__ uint32_t* scales(int slot) const {
    return reinterpret_cast<uint32_t*>(shared_ + slot * kSlotBytes + 1024 - static_cast<int>(threadIdx.x) % 32 * 8);
  }

  uint8_t* shared_;
};

#endif

}  // namespace metavoice::decode
