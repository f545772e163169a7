// How the decode kernels are launched, and how one follows the other.
#pragma once

#include <cuda_runtime.h>

#include <atomic>

#include "ops/decode_weights.cuh"
#include "ops/decode_step.h"

namespace metavoice::decode {

// Before this, a kernel may only read what no kernel of the step writes.
__device__ __forceinline__ void wait_for_others() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
  // Only now: so at most two kernels are under way, and what the last but one wrote is there to be read.
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

#ifdef METAVOICE_EMULATED
#define DYNAMIC_SHARED(name) uint8_t* name = static_cast<uint8_t*>(emulated::shared_memory())
template <auto kKernel, class Parameters>
int launch(dim3 grid, unsigned threads, int shared_bytes, const MetavoiceDecode&, const Parameters& parameters) {
  emulated::run(grid, threads, shared_bytes, [&] { kKernel(parameters); });
  return cudaSuccess;
}
#else
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) uint8_t name[]

// As much shared memory as there is, once for each device. All kernels ask for the same division of it: another one would
// keep a kernel from beginning before the one ahead of it has left the multiprocessor.
template <auto kKernel>
int prepare_kernel() {
  static std::atomic<uint64_t> prepared{0};
  int device = 0, most = 0;
  int failure = cudaGetDevice(&device);
  const uint64_t mark = uint64_t{1} << (device & 63);
  if (failure != cudaSuccess || (prepared.load() & mark) != 0) return failure;
  cudaFuncAttributes attributes{};
  const auto kernel = reinterpret_cast<const void*>(kKernel);
  failure = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (failure == cudaSuccess) failure = cudaFuncGetAttributes(&attributes, kernel);
  if (failure == cudaSuccess) {
    const int left = most - static_cast<int>(attributes.sharedSizeBytes);
    failure = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, left);
  }
  if (failure == cudaSuccess) failure = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared);
  if (failure == cudaSuccess) prepared |= mark;
  return failure;
}

template <auto kKernel, class Parameters>
int launch(dim3 grid, unsigned threads, int shared_bytes, const MetavoiceDecode& step, const Parameters& parameters) {
  const int failure = prepare_kernel<kKernel>();
  if (failure != cudaSuccess) return failure;
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = static_cast<cudaStream_t>(step.stream);
  config.attrs = &early;
  config.numAttrs = (step.flags & METAVOICE_EARLY_LAUNCH) != 0 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kKernel, parameters);
}
#endif

// Whether the kernels keep what is on its way in shared memory (ops/decode_ring.cuh).
inline bool has_ring() {
#if defined(METAVOICE_TURING)
  return false;
#elif defined(METAVOICE_EMULATED)
  return true;
#else
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess && cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 8;
#endif
}

// run(T{}) for the dtype's number type.
template <class Run>
int with_dtype(int32_t dtype, Run run) {
  switch (dtype) {
    case METAVOICE_FLOAT32: return run(float{});
    case METAVOICE_FLOAT16: return run(__half{});
    case METAVOICE_BFLOAT16: return run(__nv_bfloat16{});
    default: return cudaErrorInvalidValue;
  }
}

// run(Weights{}) for what the layers' matrices are made of.
template <class Run>
int with_weights(const MetavoiceDecode& step, Run run) {
  return with_dtype(step.dtype, [&](auto number) -> int {
    using T = decltype(number);
    if (step.weights == METAVOICE_WHOLE) return run(Whole<T>{});
    if constexpr (sizeof(T) == 2) {
      if (step.weights == METAVOICE_INT8) return run(Bytes<T>{});
      if (step.weights == METAVOICE_INT4) return run(Nibbles<T>{});
    }
    return cudaErrorInvalidValue;
  });
}

}  // namespace metavoice::decode
