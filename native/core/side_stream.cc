#include "core/side_stream.h"

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <exception>

namespace metavoice::core {

void synchronize(c10::Device device) {
  if (device.is_cpu()) return;
  const c10::DeviceGuard here(device);
  const c10::impl::VirtualGuardImpl devices(device.type());
  devices.synchronizeDevice(devices.getDevice().index());
}

void SideStream::enter(c10::Device device) noexcept {
  if (device.is_cpu() || guard_) return;
  try {
    const c10::impl::VirtualGuardImpl devices(device.type());
    // Somebody waits for what runs here.
    guard_.emplace(devices.getStreamFromGlobalPool(device, /*isHighPriority=*/true));
  } catch (const std::exception&) {
    // In the stream that all share it is as right, only later.
  }
}

}  // namespace metavoice::core
