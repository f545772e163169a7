#include "ops/decode_kernels.h"

#include <dlfcn.h>

#include "core/error.h"

namespace metavoice::ops {

namespace {

#if defined(__APPLE__)
constexpr const char* kLibrary = "libmetavoice_cuda.dylib";
#else
constexpr const char* kLibrary = "libmetavoice_cuda.so";
#endif

template <class Function>
bool find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

// The folder of the library that this is part of, with a slash.
std::string own_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&decode_kernels), &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/') + 1);
}

}  // namespace

void DecodeKernels::check(int failure, const char* what) const {
  if (failure == 0) return;
  // As libtorch names it, so that it is known for what it is.
  constexpr int kOutOfMemory = 2;
  const std::string reason = std::string(what) + ": " + explain(failure);
  if (failure == kOutOfMemory) throw core::Error("ERR_OUT_OF_MEMORY", reason);
  throw core::Error("ERR_INTERNAL", reason);
}

const DecodeKernels* open_decode_kernels(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  decltype(&metavoice_decode_version) version = nullptr;
  if (!find(library, "metavoice_decode_version", version) || version() != METAVOICE_DECODE_VERSION) return nullptr;
  auto* kernels = new DecodeKernels{};  // as long as the library, which is never closed
  const bool whole = find(library, "metavoice_decode_supports", kernels->supports) &&
                     find(library, "metavoice_decode_partial_bytes", kernels->partial_bytes) &&
                     find(library, "metavoice_decode_capture", kernels->capture) && find(library, "metavoice_decode_launch", kernels->launch) &&
                     find(library, "metavoice_decode_release", kernels->release) && find(library, "metavoice_decode_explain", kernels->explain);
  return whole ? kernels : nullptr;
}

const DecodeKernels* decode_kernels() {
  static const DecodeKernels* const kernels = open_decode_kernels(own_folder() + kLibrary);
  return kernels;
}

int decode_dtype(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return METAVOICE_FLOAT32;
    case at::kHalf: return METAVOICE_FLOAT16;
    case at::kBFloat16: return METAVOICE_BFLOAT16;
    default: return -1;
  }
}

}  // namespace metavoice::ops
