#include "ops/linear.h"

#include <vector>

#include "ops/libtorch_only.h"

namespace metavoice::ops {

namespace {

// One position of each row, where the loops can read it.
bool is_step(const at::Tensor& x, const at::Tensor& weight) {
  const auto is_float = [](at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16; };
  const at::ScalarType dtype = x.scalar_type();
  return x.is_cpu() && (x.dim() == 2 || (x.dim() == 3 && x.size(1) == 1)) && x.numel() > 0 && x.size(-1) == weight.size(1) &&
         weight.is_contiguous() && is_float(weight.scalar_type()) && (dtype == at::kFloat || dtype == weight.scalar_type());
}

at::Tensor rows_of(const at::Tensor& x) { return x.reshape({x.size(0), x.size(-1)}).contiguous(); }

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor own_bias = bias.defined() ? bias.to(x.scalar_type()) : bias;
  if (LibtorchOnly::current() != nullptr || !is_step(x, weight)) return at::linear(x, weight.to(x.scalar_type()), own_bias);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  const at::Tensor product = linear_rows(rows_of(x), weight).view(shape);
  return bias.defined() ? product + own_bias : product;
}

void add_linear(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (LibtorchOnly::current() != nullptr || bias.defined() || !is_step(x, weight) || !sum.is_contiguous()) sum.add_(linear(x, weight, bias));
  else add_linear_rows(sum.view({x.size(0), weight.size(0)}), rows_of(x), weight);
}

}  // namespace metavoice::ops
