// Numeric health: whether every number of a tensor is finite, told by the device that has them.
#pragma once

#include <ATen/ATen.h>

namespace metavoice::ops {

// `values` of any shape, floating point. One scalar comes to the host.
bool all_finite(const at::Tensor& values);

}  // namespace metavoice::ops
