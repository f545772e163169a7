// Coverage-guided inputs for the reader of safetensors headers and the mapping below it: see ../README.md. Every input
// becomes a file, since that is what the reader opens; one in memory costs no disk.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "core/safetensors.h"

namespace {

// A file in memory, and the path under which it can be opened.
struct MemoryFile {
  int descriptor = ::memfd_create("input", MFD_CLOEXEC);
  std::string path = "/proc/self/fd/" + std::to_string(descriptor);

  void fill(const uint8_t* data, size_t size) const {
    if (::ftruncate(descriptor, 0) != 0 || ::pwrite(descriptor, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  }
};

void demand(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const MemoryFile input;
  input.fill(data, size);
  try {
    const auto read = metavoice::core::Safetensors::open(input.path);
    const auto& file = *read.file;
    demand(file.size() == size);
    // What is promised about a file that was accepted: every byte of every tensor can be read.
    uint64_t sum = 0;
    for (const auto& [name, tensor] : read.tensors) {
      uint64_t elements = 1;
      for (const int64_t length : tensor.shape) elements *= static_cast<uint64_t>(length);
      demand(elements * c10::elementSize(tensor.dtype) == tensor.bytes);
      demand(tensor.offset <= size && tensor.bytes <= size - tensor.offset);
      file.populate(tensor.offset, tensor.bytes);
      for (size_t at = 0; at < tensor.bytes; ++at) sum += static_cast<uint8_t>(file.data()[tensor.offset + at]);
    }
    volatile uint64_t kept = sum;
    static_cast<void>(kept);
  } catch (const metavoice::core::Error& error) {
    demand(error.code() == "ERR_CHECKPOINT" || (size == 0 && error.code() == "ERR_MODEL_NOT_FOUND"));
  }
  return 0;
}
