#include "ops/quantization.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "core/error.h"
#include "ops/vectors.h"

namespace metavoice::ops {

namespace {

using core::Quantization;
using Bytes = int8_t __attribute__((vector_size(kLanes)));

METAVOICE_INLINE Floats larger(const Floats& a, const Floats& b) {
  const Ints first = a > b;
  return (Floats)((first & (Ints)a) | (~first & (Ints)b));
}

METAVOICE_INLINE Floats smaller(const Floats& a, const Floats& b) { return -larger(-a, -b); }

// The integers that are nearest to x / scale, halves to even, within [low, high].
METAVOICE_INLINE Bytes quotients(const Floats& x, float scale, float low, float high) {
  constexpr float kRound = 12582912.0F;  // 1.5 · 2^23: adding it rounds to an integer, which its lowest bits then hold
  const Floats inside = smaller(larger(x / scale, Floats{} + low), Floats{} + high);
  return __builtin_convertvector((Ints)(inside + kRound) - 0x4B400000, Bytes);
}

[[noreturn]] void refuse(const char* what, int64_t row) {
  throw core::Error("ERR_CHECKPOINT", std::string("expected finite weights to quantise, found ") + what + " in row " + std::to_string(row) +
                                          " of a matrix: the checkpoint is damaged, or its training went wrong");
}

// A row as float32, zeros behind it up to whole vectors.
void widen(const c10::BFloat16* row, int64_t count, int64_t index, std::vector<float>& wide) {
  wide.assign(static_cast<size_t>((count + kLanes - 1) / kLanes * kLanes), 0.0F);
  std::copy(row, row + count, wide.begin());
  Floats zeros = {};
  for (size_t i = 0; i < wide.size(); i += kLanes) zeros += floats(wide.data() + i) * 0.0F;
  for (int64_t lane = 0; lane < kLanes; ++lane)
    if (zeros[lane] != 0.0F) refuse("NaN or infinity", index);
}

// -> the scale
float int8_row(const std::vector<float>& row, std::vector<int8_t>& numbers) {
  Floats largest = {};
  for (size_t i = 0; i < row.size(); i += kLanes) {
    const Floats values = floats(row.data() + i);
    largest = larger(largest, larger(values, -values));
  }
  float most = 0;
  for (int64_t lane = 0; lane < kLanes; ++lane) most = std::max(most, largest[lane]);
  const float scale = std::max(most / 127.5F, 0x1.0p-23F);
  numbers.resize(row.size());
  for (size_t i = 0; i < row.size(); i += kLanes) {
    const Bytes rounded = quotients(floats(row.data() + i), scale, -128, 127);
    std::memcpy(numbers.data() + i, &rounded, sizeof(rounded));
  }
  return scale;
}

struct Int4Scale {
  c10::BFloat16 scale, zero;
};

Int4Scale int4_group(const float* group, int8_t* numbers, int64_t row) {
  Floats least = floats(group), most = least;
  for (int64_t i = kLanes; i < kInt4Group; i += kLanes) {
    least = smaller(least, floats(group + i));
    most = larger(most, floats(group + i));
  }
  float low = least[0], high = most[0];
  for (int64_t lane = 1; lane < kLanes; ++lane) {
    low = std::min(low, least[lane]);
    high = std::max(high, most[lane]);
  }
  // Each operation rounds to bfloat16.
  const c10::BFloat16 range = std::max(c10::BFloat16(high) - c10::BFloat16(low), c10::BFloat16(1e-6F));
  const c10::BFloat16 scale = range / c10::BFloat16(15.0F);
  const c10::BFloat16 zero = c10::BFloat16(low) + c10::BFloat16(8.0F) * scale;
  if (!std::isfinite(static_cast<float>(scale)) || !std::isfinite(static_cast<float>(zero))) refuse("a range beyond bfloat16", row);
  const float wide = scale, first = static_cast<float>(zero) - 8.0F * wide;
  for (int64_t i = 0; i < kInt4Group; i += kLanes) {
    const Bytes rounded = quotients(floats(group + i) - first, wide, 0, 15);
    std::memcpy(numbers + i, &rounded, sizeof(rounded));
  }
  return {scale, zero};
}

// Calls one(row, its numbers as float32, its index) for every row of a matrix of bfloat16.
template <class One>
void for_rows(const at::Tensor& weight, const One& one) {
  const int64_t rows = weight.size(0), in = weight.size(1);
  const auto* from = weight.const_data_ptr<c10::BFloat16>();
  at::parallel_for(0, rows, std::max<int64_t>(1, (int64_t{1} << 18) / in), [&](int64_t begin, int64_t end) {
    std::vector<float> wide;
    std::vector<int8_t> numbers;
    for (int64_t row = begin; row < end; ++row) {
      widen(from + row * in, in, row, wide);
      one(row, wide, numbers);
    }
  });
}

QuantizedMatrix to_int8(const at::Tensor& weight) {
  const int64_t rows = weight.size(0), in = weight.size(1);
  QuantizedMatrix result{Quantization::int8, at::empty({rows, in}, at::kChar), at::empty({rows}, at::kBFloat16)};
  auto* to = result.numbers.data_ptr<int8_t>();
  auto* scales = result.scales.data_ptr<c10::BFloat16>();
  for_rows(weight, [&](int64_t row, const std::vector<float>& wide, std::vector<int8_t>& numbers) {
    scales[row] = c10::BFloat16(int8_row(wide, numbers));
    std::copy(numbers.begin(), numbers.begin() + in, to + row * in);
  });
  return result;
}

QuantizedMatrix to_int4(const at::Tensor& weight) {
  const int64_t rows = weight.size(0), in = weight.size(1), groups = in / kInt4Group;
  QuantizedMatrix result{Quantization::int4, at::empty({rows, in / 2}, at::kByte), at::empty({rows, groups, 2}, at::kBFloat16)};
  auto* to = result.numbers.data_ptr<uint8_t>();
  auto* scales = result.scales.data_ptr<c10::BFloat16>();
  for_rows(weight, [&](int64_t row, const std::vector<float>& wide, std::vector<int8_t>& numbers) {
    numbers.resize(wide.size());
    for (int64_t group = 0; group < groups; ++group) {
      const Int4Scale found = int4_group(wide.data() + group * kInt4Group, numbers.data() + group * kInt4Group, row);
      scales[(row * groups + group) * 2] = found.scale;
      scales[(row * groups + group) * 2 + 1] = found.zero;
    }
    for (int64_t i = 0; i < in / 2; ++i)
      to[row * in / 2 + i] = static_cast<uint8_t>(numbers[static_cast<size_t>(2 * i)] | numbers[static_cast<size_t>(2 * i + 1)] << 4);
  });
  return result;
}

}  // namespace

QuantizedMatrix quantize(const at::Tensor& weight, Quantization kind) {
  core::require(weight.dim() == 2 && weight.size(1) > 0 && weight.is_floating_point(), "a matrix to quantise");
  core::require(kind != Quantization::none, "a quantisation");
  core::require(kind != Quantization::int4 || weight.size(1) % kInt4Group == 0, "whole groups of 128 for int4");
  const at::Tensor rounded = weight.detach().to(at::kCPU, at::kBFloat16).contiguous();
  QuantizedMatrix result = kind == Quantization::int8 ? to_int8(rounded) : to_int4(rounded);
  result.numbers = result.numbers.to(weight.device());
  result.scales = result.scales.to(weight.device());
  return result;
}

at::Tensor dequantize(const QuantizedMatrix& matrix, at::ScalarType dtype) {
  require_whole(matrix);
  const at::ScalarType wide = dtype == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor scales = matrix.scales.to(wide);
  if (matrix.kind == Quantization::int8) return matrix.numbers.to(wide).mul_(scales.unsqueeze(1)).to(dtype);
  const at::Tensor numbers = at::stack({matrix.numbers.bitwise_and(15), matrix.numbers.bitwise_right_shift(4)}, -1);
  at::Tensor weight = numbers.view({matrix.out(), matrix.in() / kInt4Group, kInt4Group}).to(wide);
  weight.sub_(8).mul_(scales.select(2, 0).unsqueeze(2)).add_(scales.select(2, 1).unsqueeze(2));
  return weight.view({matrix.out(), matrix.in()}).to(dtype);
}

void require_whole(const QuantizedMatrix& matrix) {
  const at::Tensor &numbers = matrix.numbers, &scales = matrix.scales;
  core::require(matrix.kind != Quantization::none && numbers.defined() && scales.defined(), "a quantised matrix");
  const bool int8 = matrix.kind == Quantization::int8;
  core::require(numbers.dim() == 2 && numbers.scalar_type() == (int8 ? at::kChar : at::kByte), "a matrix of quantised numbers");
  const std::vector<int64_t> one_each = {matrix.out()}, groups = {matrix.out(), matrix.in() / kInt4Group, 2};
  core::require(scales.scalar_type() == at::kBFloat16 && scales.sizes() == at::IntArrayRef(int8 ? one_each : groups), "scales of quantised numbers");
  core::require(int8 || matrix.in() % kInt4Group == 0, "whole groups of 128 for int4");
}

}  // namespace metavoice::ops
