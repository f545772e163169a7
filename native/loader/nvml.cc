#include "loader/nvml.h"

#include <cstdio>
#include <iterator>

namespace metavoice::loader {

Nvml::Nvml() { ready_ = init_ != nullptr && init_() == 0; }

const Nvml& Nvml::instance() {
  static const Nvml nvml;
  return nvml;
}

std::optional<std::string> Nvml::driver_version() const {
  char text[96] = {};
  if (!ready_ || version_ == nullptr || version_(text, sizeof text - 1) != 0 || text[0] == '\0') return std::nullopt;
  return text;
}

std::vector<ListedGpu> Nvml::gpus() const {
  unsigned count = 0;
  if (!ready_ || count_ == nullptr || by_index_ == nullptr || count_(&count) != 0) return {};
  std::vector<ListedGpu> found;
  for (unsigned index = 0; index < count; ++index) {
    Gpu gpu = nullptr;
    if (by_index_(index, &gpu) != 0) continue;  // another container's
    char name[96] = {};
    if (name_ == nullptr || name_(gpu, name, sizeof name - 1) != 0) name[0] = '\0';
    unsigned current = 0, pending = 0;
    const bool mig = mode_ != nullptr && mode_(gpu, &current, &pending) == 0 && current != 0;
    found.push_back({name, mig});
  }
  return found;
}

Nvml::Gpu Nvml::by_uuid(const char* prefix, const Uuid& uuid) const {
  if (!ready_ || by_uuid_ == nullptr) return nullptr;
  char text[48];
  char* end = text + std::snprintf(text, sizeof text, "%s", prefix);
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *end++ = '-';
    end += std::snprintf(end, static_cast<std::size_t>(std::end(text) - end), "%02x", uuid.bytes[i]);
  }
  Gpu gpu = nullptr;
  return by_uuid_(text, &gpu) == 0 ? gpu : nullptr;
}

Nvml::Gpu Nvml::at(const char* pci_bus_id) const {
  Gpu gpu = nullptr;
  return ready_ && by_bus_ != nullptr && by_bus_(pci_bus_id, &gpu) == 0 ? gpu : nullptr;
}

std::optional<std::uint64_t> Nvml::free_memory(Gpu gpu) const {
  Memory memory{};
  if (gpu == nullptr || memory_ == nullptr || memory_(gpu, &memory) != 0) return std::nullopt;
  return memory.free;
}

}  // namespace metavoice::loader
