#include "ops/linear.h"

#include <vector>

#include "ops/libtorch_only.h"

namespace metavoice::ops {

namespace {

// Above so many rows libtorch's product in float32 is the faster one on two cores with AVX2. In 16 bit it has no loops for them.
constexpr int64_t kMostFloatRows = 192;

// What the loops can read, and are better at: one position of each row, and on a CPU with AVX2 and no more, prompts.
bool is_ours(const at::Tensor& x, const at::Tensor& weight) {
  const auto is_float = [](at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16; };
  const at::ScalarType dtype = x.scalar_type();
  const bool readable = LibtorchOnly::current() == nullptr && x.is_cpu() && x.dim() >= 2 && x.numel() > 0 && x.size(-1) == weight.size(1) && weight.is_contiguous() &&
                        is_float(weight.scalar_type()) && (dtype == at::kFloat || dtype == weight.scalar_type());
  if (!readable) return false;
  if (x.dim() == 2 || (x.dim() == 3 && x.size(1) == 1)) return true;
  return instruction_sets().back() == InstructionSet::avx2 && (weight.scalar_type() != at::kFloat || x.numel() / x.size(-1) <= kMostFloatRows);
}

at::Tensor rows_of(const at::Tensor& x) { return x.reshape({-1, x.size(-1)}).contiguous(); }

}  // namespace

at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const at::Tensor own_bias = bias.defined() ? bias.to(x.scalar_type()) : bias;
  if (LibtorchOnly* plain = LibtorchOnly::current()) return plain->linear(x, weight, own_bias);
  if (!is_ours(x, weight)) return at::linear(x, weight.to(x.scalar_type()), own_bias);
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  const at::Tensor product = linear_rows(rows_of(x), weight).view(shape);
  return bias.defined() ? product + own_bias : product;
}

void add_linear(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (bias.defined() || !is_ours(x, weight) || !sum.is_contiguous()) sum.add_(linear(x, weight, bias));
  else add_linear_rows(sum.view({-1, weight.size(0)}), rows_of(x), weight);
}

}  // namespace metavoice::ops
