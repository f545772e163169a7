// How fast this machine reads memory: the yardstick beside which decoding is reported, since a step reads every weight
// once.
#pragma once

#include <cstdint>

namespace metavoice::ops {

// Best of `rounds` passes over `bytes` of memory with libtorch's threads: bytes per second.
double read_bandwidth(int64_t bytes, int rounds);

}  // namespace metavoice::ops
