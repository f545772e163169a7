// Facts from the NVIDIA driver, in the words and the order of CUDA itself: CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER
// are the driver's to apply.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "loader/driver_library.h"
#include "loader/facts.h"
#include "loader/nvml.h"

namespace metavoice::loader {
namespace {

struct Driver {
  DriverLibrary library{"libcuda.so.1"};
  int (*init)(unsigned) = library.symbol<int(unsigned)>("cuInit");
  int (*version)(int*) = library.symbol<int(int*)>("cuDriverGetVersion");
  int (*error_name)(int, const char**) = library.symbol<int(int, const char**)>("cuGetErrorName");
  int (*count)(int*) = library.symbol<int(int*)>("cuDeviceGetCount");
  int (*get)(int*, int) = library.symbol<int(int*, int)>("cuDeviceGet");
  int (*name)(char*, int, int) = library.symbol<int(char*, int, int)>("cuDeviceGetName");
  int (*attribute)(int*, int, int) = library.symbol<int(int*, int, int)>("cuDeviceGetAttribute");
  int (*memory)(std::size_t*, int) = library.symbol<int(std::size_t*, int)>("cuDeviceTotalMem_v2");
  int (*uuid)(Uuid*, int) = library.symbol<int(Uuid*, int)>("cuDeviceGetUuid");
  int (*slice_uuid)(Uuid*, int) = library.symbol<int(Uuid*, int)>("cuDeviceGetUuid_v2");
  int (*bus_id)(char*, int, int) = library.symbol<int(char*, int, int)>("cuDeviceGetPCIBusId");

  bool complete() const { return init && version && count && get && name && attribute && memory; }

  // 0 where the driver does not tell.
  int fact(int attribute_number, int device) const {
    int value = 0;
    return attribute(&value, attribute_number, device) == 0 ? value : 0;
  }

  CudaFailure failure(int code) const {
    const char* text = nullptr;
    if (error_name && error_name(code, &text) == 0 && text != nullptr) return {code, text};
    return {code, "CUDA error " + std::to_string(code)};
  }
};

constexpr int kMultiprocessors = 16;  // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT
constexpr int kIntegrated = 18;
constexpr int kCapabilityMajor = 75;
constexpr int kCapabilityMinor = 76;

// Who a device is. Since driver 470 a slice of a GPU (MIG) has a name of its own, which only the second form tells.
struct Identity {
  std::optional<Uuid> own, whole;
  bool mig = false;
};

Identity identify(const Driver& driver, int device, const char* name) {
  Identity identity;
  Uuid uuid{};
  if (driver.uuid && driver.uuid(&uuid, device) == 0) identity.whole = uuid;
  if (driver.slice_uuid && driver.slice_uuid(&uuid, device) == 0) identity.own = uuid;
  if (!identity.own) identity.own = identity.whole;
  const bool differ =
      identity.own && identity.whole && std::memcmp(identity.own->bytes, identity.whole->bytes, sizeof uuid.bytes) != 0;
  identity.mig = differ || std::strstr(name, " MIG ") != nullptr ||
                 (identity.own && Nvml::instance().slice(*identity.own) != nullptr);
  return identity;
}

// A slice is looked for as a slice only: the free memory of the whole GPU is not its own.
Nvml::Gpu find(const Driver& driver, const Identity& identity, int device) {
  const Nvml& nvml = Nvml::instance();
  if (identity.mig) return identity.own ? nvml.slice(*identity.own) : nullptr;
  if (identity.own) {
    if (const Nvml::Gpu gpu = nvml.whole(*identity.own)) return gpu;
  }
  char bus_id[32] = {};
  return driver.bus_id && driver.bus_id(bus_id, sizeof bus_id, device) == 0 ? nvml.at(bus_id) : nullptr;
}

std::optional<CudaDevice> device_facts(const Driver& driver, int index) {
  int device = 0;
  char name[256] = {};
  std::size_t bytes = 0;
  if (driver.get(&device, index) != 0 || driver.name(name, sizeof name - 1, device) != 0 ||
      driver.memory(&bytes, device) != 0) {
    return std::nullopt;
  }
  const int major = driver.fact(kCapabilityMajor, device), minor = driver.fact(kCapabilityMinor, device);
  if (major == 0) return std::nullopt;
  const Identity identity = identify(driver, device, name);
  CudaDevice facts;
  facts.index = index;
  facts.name = name;
  facts.compute_capability = std::to_string(major) + "." + std::to_string(minor);
  facts.total_memory = bytes;
  facts.free_memory = Nvml::instance().free_memory(find(driver, identity, device));
  facts.multiprocessors = driver.fact(kMultiprocessors, device);
  facts.mig = identity.mig;
  facts.integrated = driver.fact(kIntegrated, device) != 0;
  // NVML says nothing of a memory that the GPU shares with the processor.
  if (!facts.free_memory && facts.integrated) facts.free_memory = cpu_facts().free_memory;
  if (facts.free_memory) facts.free_memory = std::min(*facts.free_memory, facts.total_memory);
  return facts;
}

void ask(const Driver& driver, CudaFacts& facts) {
  int version = 0;
  int code = driver.version(&version);
  if (code == 0) {
    facts.driver_cuda = std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
    code = driver.init(0);
  }
  int count = 0;
  if (code == 0) code = driver.count(&count);
  if (code != 0) facts.failure = driver.failure(code);
  for (int index = 0; index < count; ++index) {
    if (auto device = device_facts(driver, index)) facts.devices.push_back(std::move(*device));
  }
}

}  // namespace

std::optional<CudaFacts> cuda_facts() {
  static const Driver driver;
  const Nvml& nvml = Nvml::instance();
  if (!driver.complete() && !nvml.ready()) return std::nullopt;
  CudaFacts facts;
  facts.driver = nvml.driver_version();
  if (const char* visible = std::getenv("CUDA_VISIBLE_DEVICES")) facts.visible_devices = visible;
  if (driver.complete()) ask(driver, facts);
  facts.listed = nvml.gpus();
  return facts;
}

}  // namespace metavoice::loader
