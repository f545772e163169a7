// How the decode kernels are launched, and how one follows the other.
#pragma once

#include <cuda_runtime.h>

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
#define DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(emulated::shared_memory())
template <class Parameters>
int launch(void (*kernel)(Parameters), dim3 grid, unsigned threads, unsigned shared_bytes, const MetavoiceDecode&, const Parameters& parameters) {
  emulated::run(grid, threads, shared_bytes, [&] { kernel(parameters); });
  return cudaSuccess;
}
#else
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
template <class Parameters>
int launch(void (*kernel)(Parameters), dim3 grid, unsigned threads, unsigned shared_bytes, const MetavoiceDecode& step, const Parameters& parameters) {
  cudaLaunchAttribute early{};
  early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  early.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = static_cast<cudaStream_t>(step.stream);
  config.attrs = &early;
  config.numAttrs = (step.flags & METAVOICE_EARLY_LAUNCH) != 0 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, parameters);
}
#endif

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
