// Numbers of any dtype on the host and beside them on the device, and what the tests ask of CUDA.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "ops/decode_step.h"

namespace metavoice::testing {

inline void check(int status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(static_cast<cudaError_t>(status)));
  std::exit(2);
}

#ifdef METAVOICE_EMULATED
inline void* allocate(size_t bytes) { return std::aligned_alloc(256, (bytes + 255) / 256 * 256); }
inline void release(void* memory) { std::free(memory); }
inline void copy(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
inline void finish(const char*) {}
#else
inline void* allocate(size_t bytes) {
  void* result = nullptr;
  check(cudaMalloc(&result, bytes), "cudaMalloc");
  return result;
}
inline void release(void* memory) { cudaFree(memory); }
inline void copy(void* to, const void* from, size_t bytes) { check(cudaMemcpy(to, from, bytes, cudaMemcpyDefault), "cudaMemcpy"); }
inline void finish(const char* what) {
  check(cudaGetLastError(), what);
  check(cudaDeviceSynchronize(), what);
}
#endif

// Quick and the same everywhere: numbers of mean 0 and deviation 1, within 2.5 of 0.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {}
  uint32_t bits() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  int below(int bound) { return static_cast<int>(bits() % static_cast<uint32_t>(bound)); }
  float normal() {
    const uint32_t both = bits();
    const float sum = static_cast<float>(both & 0xffffu) + static_cast<float>(both >> 16);
    return (sum - 65535.0F) * (2.4494897F / 65536.0F);
  }

 private:
  uint64_t state_;
};

constexpr int kBytes = -1;  // beside the kernels' dtypes

inline size_t size_of(int dtype) { return dtype == METAVOICE_FLOAT32 ? 4 : dtype == kBytes ? 1 : 2; }

class Array {
 public:
  Array(int dtype, int64_t count)
      : dtype_(dtype), bytes_(static_cast<size_t>(count) * size_of(dtype)), device_(allocate(bytes_.size() + 16)) {
    poison();
  }
  ~Array() { release(device_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  void* device() const { return device_; }
  float* floats() const { return static_cast<float*>(device_); }
  int64_t count() const { return static_cast<int64_t>(bytes_.size() / size_of(dtype_)); }
  std::vector<uint8_t>& bytes() { return bytes_; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

  double get(int64_t at) const {
    const uint8_t* from = bytes_.data() + static_cast<size_t>(at) * size_of(dtype_);
    if (dtype_ == kBytes) return static_cast<int8_t>(*from);
    if (dtype_ == METAVOICE_FLOAT32) return *reinterpret_cast<const float*>(from);
    if (dtype_ == METAVOICE_FLOAT16) return static_cast<double>(__half2float(*reinterpret_cast<const __half*>(from)));
    return static_cast<double>(__bfloat162float(*reinterpret_cast<const __nv_bfloat16*>(from)));
  }
  void set(int64_t at, float value) {
    uint8_t* to = bytes_.data() + static_cast<size_t>(at) * size_of(dtype_);
    if (dtype_ == METAVOICE_FLOAT32) std::memcpy(to, &value, 4);
    else if (dtype_ == METAVOICE_FLOAT16) *reinterpret_cast<__half*>(to) = __float2half_rn(value);
    else *reinterpret_cast<__nv_bfloat16*>(to) = __float2bfloat16_rn(value);
  }

  // Every number NaN, on both sides.
  void poison() {
    std::memset(bytes_.data(), 0xff, bytes_.size());
    upload();
  }
  void zero() {
    std::memset(bytes_.data(), 0, bytes_.size());
    upload();
  }
  // Of many, the first are drawn; the others repeat them, with a period that no row has.
  void fill(Random& random, float deviation, float mean = 0) {
    constexpr int64_t kPeriod = 99991;
    const int64_t drawn = std::min(count(), kPeriod);
    for (int64_t i = 0; i < drawn; ++i) set(i, mean + deviation * random.normal());
    const size_t size = size_of(dtype_);
    for (int64_t i = drawn; i < count(); i += drawn)
      std::memcpy(bytes_.data() + static_cast<size_t>(i) * size, bytes_.data(), static_cast<size_t>(std::min(drawn, count() - i)) * size);
    upload();
  }
  // Bytes as they come.
  void fill_bytes(Random& random) {
    for (uint8_t& byte : bytes_) byte = static_cast<uint8_t>(random.bits());
    upload();
  }
  float float_at(int64_t byte) const {
    float result;
    std::memcpy(&result, bytes_.data() + byte, sizeof(result));
    return result;
  }
  void set_float_at(int64_t byte, float value) { std::memcpy(bytes_.data() + byte, &value, sizeof(value)); }
  void take(int64_t to, const Array& other, int64_t from, int64_t numbers) {
    const size_t size = size_of(dtype_);
    std::memcpy(bytes_.data() + static_cast<size_t>(to) * size, other.bytes_.data() + static_cast<size_t>(from) * size, static_cast<size_t>(numbers) * size);
  }
  void upload() { copy(device_, bytes_.data(), bytes_.size()); }
  void download() { copy(bytes_.data(), device_, bytes_.size()); }

 private:
  int dtype_;
  std::vector<uint8_t> bytes_;
  void* device_;
};

class Ints {
 public:
  explicit Ints(const std::vector<int32_t>& values) : values_(values), device_(static_cast<int32_t*>(allocate(values.size() * 4 + 16))) { upload(); }
  ~Ints() { release(device_); }
  Ints(const Ints&) = delete;
  Ints& operator=(const Ints&) = delete;

  int32_t* device() const { return device_; }
  std::vector<int32_t>& values() { return values_; }
  void upload() { copy(device_, values_.data(), values_.size() * 4); }
  void download() { copy(values_.data(), device_, values_.size() * 4); }

 private:
  std::vector<int32_t> values_;
  int32_t* device_;
};

}  // namespace metavoice::testing
