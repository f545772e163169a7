// Normal random numbers by address, made where they are used: four of a Philox block (core/random.h) by Box and Muller.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "core/random.h"

namespace metavoice::ops {

// Positions [first, first + count) of each lane in [first_lane, first_lane + lanes): [lanes, count] float32 on the device.
// A number depends on key, stream, lane and position alone; across devices up to the last bits of log and cos.
at::Tensor normal_draws(const core::RandomKey& key, core::Stream stream, int64_t first_lane, int64_t lanes, int64_t first,
                        int64_t count, const at::Device& device);

}  // namespace metavoice::ops
