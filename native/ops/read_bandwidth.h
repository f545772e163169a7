// How fast this machine, or its GPU, reads memory: the yardstick beside which decoding is reported, since a step reads every weight
// once.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace metavoice::ops {

// Best of `rounds` passes over `bytes` of memory with libtorch's threads: bytes per second.
double read_bandwidth(int64_t bytes, int rounds);
// The same of a device's own memory, by libtorch's sums.
double read_bandwidth(int64_t bytes, int rounds, c10::Device device);

}  // namespace metavoice::ops
