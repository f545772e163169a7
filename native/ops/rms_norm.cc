#include "ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "core/team.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

constexpr int64_t kWidth = 8;

float sum_of_squares(const float* x, int64_t width) {
  Floats8 even = {}, odd = {};
  int64_t i = 0;
  for (; i + 2 * kWidth <= width; i += 2 * kWidth) {
    const Floats8 a = floats8(x + i), b = floats8(x + i + kWidth);
    even += a * a;
    odd += b * b;
  }
  const Floats8 sums = even + odd;
  float sum = ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  for (; i < width; ++i) sum += x[i] * x[i];
  return sum;
}

template <class T>
void normalise(const float* x, const float* weight, double epsilon, int64_t width, T* out) {
  const float scale = 1.0F / std::sqrt(sum_of_squares(x, width) / static_cast<float>(width) + static_cast<float>(epsilon));
  int64_t i = 0;
  for (; i + kWidth <= width; i += kWidth) put(floats8(x + i) * scale * floats8(weight + i), out + i);
  for (; i < width; ++i) out[i] = static_cast<T>(x[i] * scale * weight[i]);
}

template <class T>
void run(const at::Tensor& x, const at::Tensor& weight, double epsilon, const at::Tensor& out) {
  const int64_t width = weight.size(0), rows = width == 0 ? 0 : x.numel() / width;
  const float *from = x.data_ptr<float>(), *scales = weight.data_ptr<float>();
  T* to = out.data_ptr<T>();
  core::share_work(rows, std::max<int64_t>(1, (int64_t{1} << 14) / std::max<int64_t>(1, width)), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) normalise(from + row * width, scales, epsilon, width, to + row * width);
  });
}

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double epsilon, at::ScalarType dtype) {
  const bool ours = x.is_cpu() && x.scalar_type() == at::kFloat && weight.scalar_type() == at::kFloat && x.is_contiguous() &&
                    weight.is_contiguous() && x.dim() > 0 && x.size(-1) == weight.size(0);
  if (!ours) return at::rms_norm(x, {weight.size(0)}, weight, epsilon).to(dtype);
  const at::Tensor out = at::empty(x.sizes(), x.options().dtype(dtype));
  switch (dtype) {
    case at::kFloat: run<float>(x, weight, epsilon, out); return out;
    case at::kHalf: run<c10::Half>(x, weight, epsilon, out); return out;
    case at::kBFloat16: run<c10::BFloat16>(x, weight, epsilon, out); return out;
    default: return at::rms_norm(x, {weight.size(0)}, weight, epsilon).to(dtype);
  }
}

}  // namespace metavoice::ops
