#include "core/device_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

namespace metavoice::core {

std::optional<int64_t> peak_device_bytes(c10::Device device) {
  if (device.is_cpu()) return std::nullopt;
  const auto stats = at::getDeviceAllocator(device.type())->getDeviceStats(device.index());
  return stats.reserved_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)].peak;
}

void release_device_cache(c10::Device device) {
  if (!device.is_cpu()) at::getDeviceAllocator(device.type())->emptyCache();
}

}  // namespace metavoice::core
