// NVML, the management library of the NVIDIA driver. It tells what the driver itself tells only inside a context
// (hundreds of megabytes, and a second): how much memory is free. Its order of GPUs is its own and it knows nothing of
// CUDA_VISIBLE_DEVICES, so GPUs are found by their identity, never by number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "loader/driver_library.h"
#include "loader/facts.h"

namespace metavoice::loader {

struct Uuid {
  unsigned char bytes[16];
};

// Every question has an answer for a library that is not there, or lacks the function: none.
class Nvml {
 public:
  using Gpu = void*;  // nvmlDevice_t; nullptr where it is not found

  // Started once for the process.
  static const Nvml& instance();

  bool ready() const { return ready_; }
  std::optional<std::string> driver_version() const;
  std::vector<ListedGpu> gpus() const;

  Gpu whole(const Uuid& uuid) const { return by_uuid("GPU-", uuid); }
  Gpu slice(const Uuid& uuid) const { return by_uuid("MIG-", uuid); }
  Gpu at(const char* pci_bus_id) const;
  std::optional<std::uint64_t> free_memory(Gpu gpu) const;

 private:
  struct Memory {
    unsigned long long total, free, used;
  };

  Nvml();
  Gpu by_uuid(const char* prefix, const Uuid& uuid) const;

  DriverLibrary library_{"libnvidia-ml.so.1"};
  int (*init_)() = library_.symbol<int()>("nvmlInit_v2");
  int (*version_)(char*, unsigned) = library_.symbol<int(char*, unsigned)>("nvmlSystemGetDriverVersion");
  int (*count_)(unsigned*) = library_.symbol<int(unsigned*)>("nvmlDeviceGetCount_v2");
  int (*by_index_)(unsigned, Gpu*) = library_.symbol<int(unsigned, Gpu*)>("nvmlDeviceGetHandleByIndex_v2");
  int (*by_uuid_)(const char*, Gpu*) = library_.symbol<int(const char*, Gpu*)>("nvmlDeviceGetHandleByUUID");
  int (*by_bus_)(const char*, Gpu*) = library_.symbol<int(const char*, Gpu*)>("nvmlDeviceGetHandleByPciBusId_v2");
  int (*name_)(Gpu, char*, unsigned) = library_.symbol<int(Gpu, char*, unsigned)>("nvmlDeviceGetName");
  int (*mode_)(Gpu, unsigned*, unsigned*) = library_.symbol<int(Gpu, unsigned*, unsigned*)>("nvmlDeviceGetMigMode");
  int (*memory_)(Gpu, Memory*) = library_.symbol<int(Gpu, Memory*)>("nvmlDeviceGetMemoryInfo");
  bool ready_ = false;
};

}  // namespace metavoice::loader
