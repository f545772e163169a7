#include "layers/linear.h"

#include <doctest.h>

#include <limits>

#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("layers/linear") {
  TEST_CASE("refuses shapes that do not fit, the bias's too") {
    const core::Weights weights = opened({{"a.weight", at::ones({3, 2})}, {"a.bias", at::ones({2})}});
    check_refused([&] { layers::Linear::load(weights.scope("a"), 2, 3); }, "ERR_CHECKPOINT", "a.weight");
    check_refused([&] { layers::Linear::load(weights.scope("a"), 3, 2); }, "ERR_CHECKPOINT", "a.bias");
  }

  TEST_CASE("is x W^T + b in every dtype") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      Numbers numbers(6);
      const Tensors tensors = {{"a.weight", numbers.normal({9, 33}, 0.2)}, {"a.bias", numbers.normal({9}, 1)}};
      const at::Tensor x = numbers.normal({5, 33}, 1);
      const at::Tensor wanted = plain::linear(tensors, "a", x.to(at::kDouble));
      for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kHalf, 5e-3}, {at::kBFloat16, 4e-2}}) {
        const auto linear = layers::Linear::load(opened(tensors, {device, dtype}).scope("a"), 9, 33);
        CHECK((linear.bias.scalar_type() == dtype));
        check_close(linear.forward(x.to(device, dtype)), wanted, tolerance, std::string("linear in ") + at::toString(dtype));
      }
    }
  }

  TEST_CASE("is quantised while it is loaded as it would be stored, with the same bits") {
    for (const at::Device& device : devices())
      for (const core::Quantization kind : {core::Quantization::int8, core::Quantization::int4}) {
        CAPTURE(device.str());
        CAPTURE(kind == core::Quantization::int8);
        Numbers numbers(8);
        const at::Tensor weight = numbers.normal({64, 256}, 0.1), bias = numbers.normal({64}, 1), x = numbers.normal({3, 256}, 1);
        const ops::QuantizedMatrix matrix = ops::quantize(weight, kind);
        const core::Placement placement{device, at::kFloat, kind};
        const core::Weights whole = opened({{"a.weight", weight}, {"a.bias", bias}}, placement);
        const core::Weights stored = opened({{"a.weight", matrix.numbers}, {"a.scale", matrix.scales}, {"a.bias", bias}}, placement);
        const auto one = layers::Linear::load(whole.scope("a"), 64, 256), other = layers::Linear::load(stored.scope("a"), core::Weights::any, 256);
        stored.require_all_used();
        CHECK(stored.bytes_used() == whole.bytes_used());
        CHECK(whole.bytes_used() < 64 * 4 + 64 * (kind == core::Quantization::int8 ? 256 + 64 : 128 + 64));
        for (const layers::Linear* linear : {&one, &other}) {
          CHECK(linear->out() == 64);
          CHECK(linear->in() == 256);
          CHECK((linear->quantization() == kind));
          CHECK_FALSE(linear->weight.defined());
        }
        const at::Tensor wanted = at::linear(x, ops::dequantize(matrix, at::kFloat), bias).to(at::kDouble);
        for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-3}, {at::kHalf, 5e-3}, {at::kBFloat16, 4e-2}}) {
          const at::Tensor placed = x.to(device, dtype);
          CHECK((one.forward(placed).scalar_type() == dtype));
          CHECK(at::equal(one.forward(placed), other.forward(placed)));
          check_close(one.forward(placed), wanted, tolerance, std::string("quantised in ") + at::toString(dtype));
          // However many rows there are, and in how many dimensions.
          if (device.is_cpu()) CHECK(at::equal(one.forward(placed.narrow(0, 1, 1).unsqueeze(0))[0][0], one.forward(placed)[1]));
        }
      }
  }

  TEST_CASE("stays whole in int4 where its rows are no whole groups, and where a dtype is asked for") {
    Numbers numbers(9);
    const core::Weights weights = opened({{"a.weight", numbers.normal({8, 192}, 1)}}, {at::kCPU, at::kFloat, core::Quantization::int4});
    CHECK((layers::Linear::load(weights.scope("a"), 8, 192).quantization() == core::Quantization::none));
    const core::Weights bytes = opened({{"a.weight", numbers.normal({8, 128}, 1)}}, {at::kCPU, at::kFloat, core::Quantization::int8});
    CHECK((layers::Linear::load(bytes.scope("a"), 8, 128, at::kFloat).quantization() == core::Quantization::none));
  }

  TEST_CASE("refuses what is not stored as it should be") {
    const ops::QuantizedMatrix int8 = ops::quantize(Numbers(10).normal({4, 128}, 1), core::Quantization::int8);
    const ops::QuantizedMatrix int4 = ops::quantize(Numbers(10).normal({4, 128}, 1), core::Quantization::int4);
    const auto load = [](const Tensors& tensors, core::Quantization kind) {
      layers::Linear::load(opened(tensors, {at::kCPU, at::kFloat, kind}).scope("a"), 4, 128);
    };
    const auto as_int8 = [&](const at::Tensor& weight, const at::Tensor& scale, const char* what) {
      check_refused([&] { load({{"a.weight", weight}, {"a.scale", scale}}, core::Quantization::int8); }, "ERR_CHECKPOINT", what);
    };
    const auto as_int4 = [&](const at::Tensor& weight, const at::Tensor& scale, const char* what) {
      check_refused([&] { load({{"a.weight", weight}, {"a.scale", scale}}, core::Quantization::int4); }, "ERR_CHECKPOINT", what);
    };
    as_int8(int4.numbers, int4.scales, "hold I8 numbers but found U8");
    as_int4(int8.numbers, int8.scales, "hold U8 numbers but found I8");
    as_int8(int8.numbers, int8.scales.to(at::kFloat), "a.scale");
    as_int8(int8.numbers, int8.scales.narrow(0, 0, 3), "a.scale");
    as_int8(int8.numbers.narrow(1, 0, 64).contiguous(), int8.scales, "a.weight");
    as_int4(int4.numbers.narrow(1, 0, 32).contiguous(), int4.scales, "a.weight");
    as_int4(int4.numbers, int4.scales.flatten(), "a.scale");
    as_int8(int8.numbers, at::full_like(int8.scales, std::numeric_limits<float>::infinity()), "not finite");
    // What is quantised is no matrix of floats.
    check_refused([&] { load({{"a.weight", int8.numbers}, {"a.scale", int8.scales}}, core::Quantization::none); }, "ERR_CHECKPOINT", "found I8");
    at::Tensor broken = at::ones({4, 128});
    broken[2][5] = std::numeric_limits<float>::quiet_NaN();
    for (const core::Quantization kind : {core::Quantization::int8, core::Quantization::int4})
      check_refused([&] { load({{"a.weight", broken}}, kind); }, "ERR_CHECKPOINT", "a.weight");
    check_refused([&] { load({{"a.weight", at::ones({4, 128}, at::kLong)}}, core::Quantization::int8); }, "ERR_CHECKPOINT", "floating-point");
  }

  TEST_CASE("goes without a bias, and may have a dtype of its own") {
    Numbers numbers(7);
    const Tensors tensors = {{"a.weight", numbers.normal({4, 3}, 1)}};
    const auto linear = layers::Linear::load(opened(tensors, {at::kCPU, at::kHalf}).scope("a"), 4, core::Weights::any, at::kFloat);
    CHECK_FALSE(linear.bias.defined());
    const at::Tensor x = numbers.normal({2, 3}, 1);
    check_close(linear.forward(x), plain::linear(tensors, "a", x.to(at::kDouble)), 1e-6, "no bias");
  }
}
