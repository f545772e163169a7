#include "ops/finite.h"

namespace metavoice::ops {

// x·0 is 0 for what is finite and NaN for the rest.
at::Tensor zero_if_finite(const at::Tensor& values) { return values.mul(0).sum(at::kFloat); }

bool all_finite(const at::Tensor& values) { return values.numel() == 0 || zero_if_finite(values).item<float>() == 0.0F; }

}  // namespace metavoice::ops
