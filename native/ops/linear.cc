#include "ops/linear.h"

#include <vector>

#include "ops/libtorch_only.h"

namespace metavoice::ops {

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const bool one_position = x.dim() == 2 || (x.dim() == 3 && x.size(1) == 1);
  const bool floats = x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat;
  if (LibtorchOnly::current() != nullptr || !one_position || !floats || !x.device().is_cpu() || !weight.is_contiguous() || x.size(-1) != weight.size(1) || x.numel() == 0)
    return at::linear(x, weight, bias);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  const at::Tensor product = linear_rows(x.reshape({x.size(0), weight.size(1)}).contiguous(), weight).view(shape);
  return bias.defined() ? product + bias : product;
}

}  // namespace metavoice::ops
