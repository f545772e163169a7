// What libtorch's caching allocator holds on a GPU. The CPU has none: the system tells what a process holds.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>

namespace metavoice::core {

// The most bytes that were reserved on the device at a time since the process began.
std::optional<int64_t> peak_device_bytes(c10::Device device);

// Gives memory that nobody uses back to the device, for others.
void release_device_cache(c10::Device device);

}  // namespace metavoice::core
