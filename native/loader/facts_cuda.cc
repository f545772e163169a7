// Facts from the NVIDIA driver, which is opened at run time: most machines have none. NVML tells the free memory, which
// the driver itself tells only inside a context (hundreds of megabytes, and a second).
#include "loader/facts.h"

#include <dlfcn.h>

#include <cstdio>
#include <iterator>

namespace metavoice::loader {
namespace {

template <typename Function>
Function* symbol(void* library, const char* name) {
  return reinterpret_cast<Function*>(dlsym(library, name));
}

void* open_first(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (void* library = dlopen(name, RTLD_LAZY | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

struct Uuid {
  unsigned char bytes[16];
};

struct Driver {
  void* library = open_first({"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"});
  int (*init)(unsigned) = symbol<int(unsigned)>(library, "cuInit");
  int (*version)(int*) = symbol<int(int*)>(library, "cuDriverGetVersion");
  int (*count)(int*) = symbol<int(int*)>(library, "cuDeviceGetCount");
  int (*get)(int*, int) = symbol<int(int*, int)>(library, "cuDeviceGet");
  int (*name)(char*, int, int) = symbol<int(char*, int, int)>(library, "cuDeviceGetName");
  int (*attribute)(int*, int, int) = symbol<int(int*, int, int)>(library, "cuDeviceGetAttribute");
  int (*memory)(std::size_t*, int) = symbol<int(std::size_t*, int)>(library, "cuDeviceTotalMem_v2");
  int (*uuid)(Uuid*, int) = symbol<int(Uuid*, int)>(library, "cuDeviceGetUuid");
  int (*slice_uuid)(Uuid*, int) = symbol<int(Uuid*, int)>(library, "cuDeviceGetUuid_v2");

  bool complete() const {
    return library && init && version && count && get && name && attribute && memory;
  }
};

struct Management {
  struct Memory {
    unsigned long long total, free, used;
  };

  void* library = open_first({"libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"});
  int (*init)() = symbol<int()>(library, "nvmlInit_v2");
  int (*by_uuid)(const char*, void**) = symbol<int(const char*, void**)>(library, "nvmlDeviceGetHandleByUUID");
  int (*memory)(void*, Memory*) = symbol<int(void*, Memory*)>(library, "nvmlDeviceGetMemoryInfo");
  bool ready = library && init && by_uuid && memory && init() == 0;

  std::optional<std::uint64_t> free_memory(const char* prefix, const Uuid& uuid) const {
    char text[48];
    char* end = text + std::snprintf(text, sizeof text, "%s-", prefix);
    for (int i = 0; i < 16; ++i) {
      if (i == 4 || i == 6 || i == 8 || i == 10) *end++ = '-';
      end += std::snprintf(end, static_cast<std::size_t>(std::end(text) - end), "%02x", uuid.bytes[i]);
    }
    void* handle = nullptr;
    Memory info{};
    if (by_uuid(text, &handle) != 0 || memory(handle, &info) != 0) return std::nullopt;
    return info.free;
  }
};

std::optional<std::uint64_t> free_memory(const Driver& driver, const Management& management, int device) {
  if (!management.ready) return std::nullopt;
  Uuid uuid{};
  // A slice of a GPU (MIG) has a name of its own; the whole GPU's free memory would not be the slice's.
  if (driver.slice_uuid && driver.slice_uuid(&uuid, device) == 0) {
    if (const auto bytes = management.free_memory("MIG", uuid)) return bytes;
    return management.free_memory("GPU", uuid);
  }
  if (driver.uuid && driver.uuid(&uuid, device) == 0) return management.free_memory("GPU", uuid);
  return std::nullopt;
}

constexpr int kCapabilityMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
constexpr int kCapabilityMinor = 76;

std::optional<CudaDevice> device_facts(const Driver& driver, const Management& management, int index) {
  int device = 0, major = 0, minor = 0;
  char name[256] = {};
  std::size_t bytes = 0;
  if (driver.get(&device, index) != 0 || driver.name(name, sizeof name, device) != 0 ||
      driver.attribute(&major, kCapabilityMajor, device) != 0 ||
      driver.attribute(&minor, kCapabilityMinor, device) != 0 || driver.memory(&bytes, device) != 0) {
    return std::nullopt;
  }
  CudaDevice facts;
  facts.index = index;
  facts.name = name;
  facts.compute_capability = std::to_string(major) + "." + std::to_string(minor);
  facts.total_memory = bytes;
  facts.free_memory = free_memory(driver, management, device);
  return facts;
}

}  // namespace

std::optional<CudaFacts> cuda_facts() {
  static const Driver driver;  // never closed: the driver keeps threads of its own
  if (!driver.complete()) return std::nullopt;
  int version = 0;
  if (driver.version(&version) != 0) return std::nullopt;
  CudaFacts facts;
  facts.driver_cuda = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
  int count = 0;
  if (driver.init(0) != 0 || driver.count(&count) != 0) return facts;  // a driver, but no device for this process
  static const Management management;
  for (int index = 0; index < count; ++index) {
    if (auto device = device_facts(driver, management, index)) facts.devices.push_back(std::move(*device));
  }
  return facts;
}

}  // namespace metavoice::loader
