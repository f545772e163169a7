#include "ops/quantization.h"

#include <ATen/Parallel.h>
#include <doctest.h>

#include <cmath>
#include <limits>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using core::Quantization;
using ops::kInt4Group;
using ops::QuantizedMatrix;

namespace {

at::Tensor rounded(const at::Tensor& weight) { return weight.cpu().to(at::kBFloat16).to(at::kFloat); }

// The rule once more, by libtorch: an operation at a time, all groups together.
QuantizedMatrix wanted_int8(const at::Tensor& weight) {
  const at::Tensor w = rounded(weight);
  const at::Tensor scale = (w.abs().amax(1) / 127.5).clamp_min(std::pow(2.0, -23.0));
  return {Quantization::int8, (w / scale.unsqueeze(1)).round().clamp(-128, 127).to(at::kChar), scale.to(at::kBFloat16)};
}

QuantizedMatrix wanted_int4(const at::Tensor& weight) {
  const int64_t out = weight.size(0), in = weight.size(1);
  const at::Tensor w = weight.cpu().to(at::kBFloat16).view({out, in / kInt4Group, kInt4Group});
  const at::Tensor scale = (w.amax(2) - w.amin(2)).clamp_min(1e-6) / 15, zero = w.amin(2) + scale * 8;  // bfloat16
  const at::Tensor s = scale.to(at::kFloat).unsqueeze(2), first = zero.to(at::kFloat).unsqueeze(2) - 8 * s;
  const at::Tensor q = ((w.to(at::kFloat) - first) / s).round().clamp(0, 15).to(at::kByte).view({out, in / 2, 2});
  return {Quantization::int4, q.select(2, 0) + q.select(2, 1) * 16, at::stack({scale, zero}, -1)};
}

void check_same(const QuantizedMatrix& got, const QuantizedMatrix& wanted) {
  CHECK(got.kind == wanted.kind);
  CHECK(at::equal(got.numbers.cpu(), wanted.numbers));
  CHECK(at::equal(got.scales.cpu(), wanted.scales));
}

// [1, in] of these numbers, zeros behind them.
at::Tensor row_of(const std::vector<float>& numbers, int64_t in) {
  at::Tensor row = at::zeros({1, in});
  for (size_t i = 0; i < numbers.size(); ++i) row[0][static_cast<int64_t>(i)] = numbers[i];
  return row;
}

}  // namespace

TEST_SUITE("ops/quantization") {
  TEST_CASE("int8: rows of known numbers") {
    const at::Tensor weight = at::cat({row_of({1, -0.5F, 0.25F}, 3), row_of({}, 3), row_of({-255, 255, 1}, 3), row_of({5, 7, -127.5F}, 3)});
    const QuantizedMatrix found = ops::quantize(weight, Quantization::int8);
    CHECK(found.out() == 4);
    CHECK(found.in() == 3);
    // Halves to even: 1 / 2 is 0; -127.5 is -128, and what would be 128 stays 127.
    check_equal(found.numbers, at::tensor(std::vector<float>{127, -64, 32, 0, 0, 0, -128, 127, 0, 5, 7, -128}).view({4, 3}), "numbers");
    check_equal(found.scales, at::tensor(std::vector<float>{1 / 127.5F, 0x1.0p-23F, 2, 1}).to(at::kBFloat16), "scales");
  }

  TEST_CASE("int4: groups of known numbers") {
    std::vector<float> steps, tail;
    for (int i = 0; i < 128; ++i) steps.push_back(-0.5F + static_cast<float>(i % 16) / 16);
    for (int i = 0; i < 128; ++i) tail.push_back(i == 0 ? 15.0F : i == 1 ? 0.5F : i == 2 ? 1.5F : 0.0F);
    std::vector<float> numbers = steps;
    numbers.insert(numbers.end(), tail.begin(), tail.end());
    const QuantizedMatrix found = ops::quantize(row_of(numbers, 384), Quantization::int4);
    CHECK(found.out() == 1);
    CHECK(found.in() == 384);
    // A step of 1/16 from -1/2 on; a step of 1 from 0 on, halves to even; nothing but zeros.
    check_equal(found.scales.select(2, 0).view({3}).narrow(0, 0, 2), at::tensor(std::vector<float>{0.0625F, 1}), "scales");
    check_equal(found.scales.select(2, 1).view({3}).narrow(0, 0, 2), at::tensor(std::vector<float>{0, 8}), "zeros");
    const auto* bytes = found.numbers.const_data_ptr<uint8_t>();
    for (int i = 0; i < 64; ++i) CHECK(bytes[i] == (2 * i) % 16 + 16 * ((2 * i + 1) % 16));
    CHECK(bytes[64] == 15 + 16 * 0);
    CHECK(bytes[65] == 2);
    CHECK(at::equal(found.numbers.narrow(1, 66, 62 + 64), at::zeros({1, 62 + 64}, at::kByte)));
    const at::Tensor back = ops::dequantize(found, at::kFloat);
    check_equal(back.narrow(1, 0, 128), row_of(steps, 128), "what fits the steps");
    check_equal(back.narrow(1, 256, 128), at::zeros({1, 128}), "zeros");
  }

  TEST_CASE("numbers and scales are those of the rule, whatever the weights") {
    Numbers numbers(11);
    for (const double spread : {1e-30, 1e-6, 0.02, 1.0, 1e30})
      for (const double shift : {0.0, 3.0}) {
        CAPTURE(spread);
        CAPTURE(shift);
        for (const int64_t in : {1, 17, 200, 256}) {
          const at::Tensor weight = (numbers.normal({37, in}, 1) + shift) * spread;
          for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
            if (dtype == at::kHalf && spread > 1) continue;
            check_same(ops::quantize(weight.to(dtype), Quantization::int8), wanted_int8(weight.to(dtype)));
            if (in == 256) check_same(ops::quantize(weight.to(dtype), Quantization::int4), wanted_int4(weight.to(dtype)));
          }
        }
      }
  }

  TEST_CASE("where the weights lie, in what order, and how many threads there are makes no difference") {
    Numbers numbers(12);
    const at::Tensor weight = numbers.normal({384, 256}, 0.1);
    const int threads = at::get_num_threads();
    for (const Quantization kind : {Quantization::int8, Quantization::int4}) {
      const QuantizedMatrix wanted = ops::quantize(weight, kind);
      check_same(ops::quantize(weight.t().contiguous().t(), kind), wanted);
      at::set_num_threads(2);
      check_same(ops::quantize(weight, kind), wanted);
      at::set_num_threads(threads);
      for (const at::Device& device : devices()) {
        const QuantizedMatrix there = ops::quantize(weight.to(device), kind);
        CHECK(there.numbers.device() == weight.to(device).device());
        check_same(there, wanted);
        check_equal(ops::dequantize(there, at::kFloat), ops::dequantize(wanted, at::kFloat), "dequantised there");
      }
    }
  }

  TEST_CASE("what was quantised is near, by a little over half a step") {
    Numbers numbers(13);
    const at::Tensor weight = rounded(numbers.normal({50, 512}, 0.05)).to(at::kDouble);
    const QuantizedMatrix int8 = ops::quantize(weight, Quantization::int8), int4 = ops::quantize(weight, Quantization::int4);
    // Half a step, and what rounding the scale, or the zero, to 8 bits moves the outermost number.
    const at::Tensor eighth = int8.scales.to(at::kDouble).unsqueeze(1) * (0.5 + 128.0 / 256);
    CHECK(((ops::dequantize(int8, at::kDouble) - weight).abs() <= eighth).all().item<bool>());
    const at::Tensor fourth = int4.scales.select(2, 0).to(at::kDouble).unsqueeze(2) * (0.5 + 16.0 / 256);
    CHECK(((ops::dequantize(int4, at::kDouble) - weight).abs().view({50, 4, 128}) <= fourth).all().item<bool>());
    for (const QuantizedMatrix& matrix : {int8, int4})
      for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-7}, {at::kHalf, 2e-4}, {at::kBFloat16, 1e-3}}) {
        const at::Tensor back = ops::dequantize(matrix, dtype);
        CHECK((back.scalar_type() == dtype));
        check_close(back, ops::dequantize(matrix, at::kDouble), tolerance, "in another dtype");
      }
  }

  TEST_CASE("extremes") {
    const float large = 3e38F, tiny = 1e-39F;
    at::Tensor weight = at::zeros({2, 128});
    weight[0][0] = large;
    weight[0][1] = -large;
    weight[1].fill_(tiny);
    const QuantizedMatrix int8 = ops::quantize(weight, Quantization::int8);
    CHECK(int8.numbers[0][0].item<int>() == 127);
    CHECK(int8.numbers[0][1].item<int>() <= -127);
    CHECK(int8.numbers[1].abs().max().item<int>() == 0);
    CHECK(ops::dequantize(int8, at::kFloat).isfinite().all().item<bool>());
    check_refused([&] { ops::quantize(weight, Quantization::int4); }, "ERR_CHECKPOINT", "a range beyond bfloat16 in row 0");
    // A group of one number is that number, within what bfloat16 leaves of it.
    check_close(ops::dequantize(ops::quantize(at::full({1, 128}, 1.0F), Quantization::int4), at::kFloat), at::full({1, 128}, 1.0F), 1e-6, "all the same");
    for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()})
      for (const Quantization kind : {Quantization::int8, Quantization::int4}) {
        at::Tensor damaged = at::ones({3, 128});
        damaged[1][127] = wrong;
        check_refused([&] { ops::quantize(damaged, kind); }, "ERR_CHECKPOINT", "NaN or infinity in row 1");
      }
  }

  TEST_CASE("promises are kept") {
    check_refused([] { ops::quantize(at::ones({2, 100}), Quantization::int4); }, "ERR_INTERNAL", "whole groups");
    check_refused([] { ops::quantize(at::ones({2, 128}), Quantization::none); }, "ERR_INTERNAL", "a quantisation");
    check_refused([] { ops::quantize(at::ones({128}), Quantization::int8); }, "ERR_INTERNAL", "a matrix");
    QuantizedMatrix matrix = ops::quantize(at::ones({2, 128}), Quantization::int8);
    matrix.scales = matrix.scales.narrow(0, 0, 1);
    check_refused([&] { ops::dequantize(matrix, at::kFloat); }, "ERR_INTERNAL", "scales");
  }
}
