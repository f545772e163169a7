#include "ops/quantized_linear.h"

#include <ATen/Parallel.h>
#include <doctest.h>

#include <cmath>
#include <limits>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using core::Quantization;
using ops::InstructionSet;
using ops::PackedMatrix;
using ops::QuantizedMatrix;

namespace {

// Rounding to 16 bits leaves noise about 90 dB below the numbers; sums of them keep the distance.
constexpr double kDecibels = 80;

QuantizedMatrix random_matrix(Numbers& numbers, int64_t out, int64_t in, Quantization kind) { return ops::quantize(numbers.normal({out, in}, 0.05), kind); }

// On poisoned memory.
at::Tensor product(const at::Tensor& x, const PackedMatrix& matrix, InstructionSet instructions) {
  at::Tensor out = at::full({x.size(0), matrix.out}, std::numeric_limits<float>::quiet_NaN());
  ops::quantized_linear_rows(x, matrix, instructions, out);
  return out;
}

double decibels(const at::Tensor& got, const at::Tensor& wanted) {
  const double noise = (got.to(at::kDouble) - wanted).square().sum().item<double>(), signal = wanted.square().sum().item<double>();
  return 10 * std::log10(signal / noise);
}

// How far each number may be from `x` times `weight`, both in double: half a step for each x, and what float32 rounds.
at::Tensor allowed(const at::Tensor& x, const at::Tensor& weight) {
  const int64_t in = x.size(1), groups = (in + 127) / 128;
  const at::Tensor whole = at::constant_pad_nd(x.abs(), {0, groups * 128 - in}).view({-1, groups, 128});
  const at::Tensor halves = (whole.amax(2, true) / (2 * 32767.0)).expand_as(whole).reshape({-1, groups * 128}).narrow(1, 0, in);
  return at::linear(halves + 2e-6 * x.abs(), weight.abs());
}

// Every set of instructions gives the product, and the same bits.
void check_products(Numbers& numbers, int64_t out, int64_t in, Quantization kind, const std::vector<int64_t>& counts) {
  CAPTURE(out);
  CAPTURE(in);
  const QuantizedMatrix matrix = random_matrix(numbers, out, in, kind);
  const PackedMatrix packed = ops::pack(matrix);
  const at::Tensor weight = ops::dequantize(matrix, at::kDouble);
  for (const int64_t rows : counts) {
    CAPTURE(rows);
    // Rows of different loudness, and a number in each that stands out.
    at::Tensor x = numbers.normal({rows, in}, 1) * at::exp(numbers.normal({rows, 1}, 2));
    x.select(1, in / 2).mul_(20);
    const at::Tensor wide = x.to(at::kDouble), first = product(x, packed, InstructionSet::baseline);
    CHECK(((first.to(at::kDouble) - at::linear(wide, weight)).abs() <= allowed(wide, weight)).all().item<bool>());
    for (const InstructionSet instructions : ops::instruction_sets()) {
      CAPTURE(static_cast<int>(instructions));
      CHECK(at::equal(product(x, packed, instructions), first));
    }
  }
}

constexpr Quantization kKinds[] = {Quantization::int8, Quantization::int4};

}  // namespace

TEST_SUITE("ops/quantized_linear") {
  TEST_CASE("what is packed is unpacked, whatever the shape") {
    Numbers numbers(21);
    for (const int64_t out : {1, 8, 24, 31, 32, 33, 66})
      for (const int64_t in : {1, 2, 63, 64, 128, 200, 384})
        for (const Quantization kind : kKinds) {
          if (kind == Quantization::int4 && in % ops::kInt4Group != 0) continue;
          CAPTURE(out);
          CAPTURE(in);
          const QuantizedMatrix matrix = random_matrix(numbers, out, in, kind);
          const PackedMatrix packed = ops::pack(matrix);
          CHECK(packed.kind == kind);
          CHECK(packed.out == out);
          CHECK(packed.in == in);
          const QuantizedMatrix back = ops::unpack(packed);
          CHECK(back.kind == kind);
          CHECK(at::equal(back.numbers, matrix.numbers));
          CHECK(at::equal(back.scales, matrix.scales));
        }
  }

  TEST_CASE("packed numbers lie where the header says, among zeros") {
    QuantizedMatrix int8{Quantization::int8, at::zeros({40, 5}, at::kChar), at::zeros({40}, at::kBFloat16)};
    int8.numbers[34][3] = 77;
    int8.scales[34] = 2;
    const PackedMatrix eight = ops::pack(int8);
    CHECK(eight.numbers.sizes() == at::IntArrayRef({2, 3, 32, 2}));
    CHECK(eight.numbers[1][1][2][1].item<int>() == 77);
    CHECK(eight.numbers.to(at::kInt).abs().sum().item<int>() == 77);
    CHECK(eight.scales.sizes() == at::IntArrayRef({2, 32}));
    CHECK(eight.scales[1][2].item<float>() == 2);
    QuantizedMatrix int4{Quantization::int4, at::zeros({40, 128}, at::kByte), at::zeros({40, 2, 2}, at::kBFloat16)};
    int4.numbers[34][64 + 5] = 0x9A;  // numbers 138 and 139 of the row: 2 and 3 of the eight from 136 on
    int4.scales[34][1][0] = 2;
    int4.scales[34][1][1] = 3;
    const PackedMatrix four = ops::pack(int4);
    CHECK(four.numbers.sizes() == at::IntArrayRef({2, 32, 32, 4}));
    CHECK(four.numbers[1][17][2][0].item<int>() == 0xA0);
    CHECK(four.numbers[1][17][2][2].item<int>() == 0x90);
    CHECK(four.numbers.to(at::kInt).sum().item<int>() == 0xA0 + 0x90);
    CHECK(four.scales.sizes() == at::IntArrayRef({2, 2, 32, 2}));
    CHECK(four.scales[1][1][2][0].item<float>() == 2);
    CHECK(four.scales[1][1][2][1].item<float>() == 3);
  }

  TEST_CASE("every set of instructions gives the product, with the same bits, whatever the shape and the number of rows") {
    Numbers numbers(22);
    std::vector<int64_t> some;
    for (int64_t rows = 1; rows <= 17; ++rows) some.push_back(rows);
    some.push_back(130);
    for (const int64_t out : {8, 24, 66})
      for (const int64_t in : {64, 128, 129, 200, 256, 640})
        for (const Quantization kind : kKinds)
          if (kind == Quantization::int8 || in % ops::kInt4Group == 0) check_products(numbers, out, in, kind, some);
    for (const Quantization kind : kKinds) {
      check_products(numbers, 2562, 2048, kind, {2});
      check_products(numbers, 72, 6144, kind, {1, 2, 19});
    }
  }

  TEST_CASE("rounding x costs little beside what quantising the weights did") {
    Numbers numbers(27);
    for (const Quantization kind : kKinds) {
      const QuantizedMatrix matrix = random_matrix(numbers, 300, 2048, kind);
      const at::Tensor x = numbers.normal({8, 2048}, 1);
      CHECK(decibels(ops::quantized_linear(x, ops::pack(matrix)), at::linear(x.to(at::kDouble), ops::dequantize(matrix, at::kDouble))) > kDecibels);
    }
  }

  TEST_CASE("a row has the same bits alone, in any company, at any place, and with any number of threads") {
    Numbers numbers(23);
    for (const Quantization kind : kKinds) {
      const PackedMatrix matrix = ops::pack(random_matrix(numbers, 1030, 1024, kind));
      const at::Tensor x = numbers.normal({40, 1024}, 1);
      const at::Tensor wanted = ops::quantized_linear(x, matrix);
      for (int64_t rows = 1; rows <= 40; ++rows) {
        CAPTURE(rows);
        CHECK(at::equal(ops::quantized_linear(x.narrow(0, 40 - rows, rows), matrix), wanted.narrow(0, 40 - rows, rows)));
        CHECK(at::equal(ops::quantized_linear(x.narrow(0, 0, rows).flip(0), matrix).flip(0), wanted.narrow(0, 0, rows)));
      }
      const int threads = at::get_num_threads();
      for (const int other : {1, 2, 3}) {
        at::set_num_threads(other);
        CHECK(at::equal(ops::quantized_linear(x, matrix), wanted));
        CHECK(at::equal(ops::quantized_linear(x.narrow(0, 0, 2), matrix), wanted.narrow(0, 0, 2)));
      }
      at::set_num_threads(threads);
    }
  }

  TEST_CASE("shapes and dtypes of rows") {
    Numbers numbers(24);
    for (const Quantization kind : kKinds) {
      const PackedMatrix matrix = ops::pack(random_matrix(numbers, 40, 128, kind));
      const at::Tensor x = numbers.normal({6, 128}, 1), wanted = ops::quantized_linear(x, matrix);
      CHECK(at::equal(ops::quantized_linear(x.view({2, 3, 128}), matrix), wanted.view({2, 3, 40})));
      CHECK(at::equal(ops::quantized_linear(x[4], matrix), wanted[4]));
      CHECK(at::equal(ops::quantized_linear(x.t().contiguous().t(), matrix), wanted));
      CHECK(ops::quantized_linear(x.narrow(0, 0, 0), matrix).sizes() == at::IntArrayRef({0, 40}));
      for (const at::ScalarType dtype : {at::kBFloat16, at::kHalf, at::kDouble}) {
        const at::Tensor narrow = x.to(dtype), found = ops::quantized_linear(narrow, matrix);
        CHECK((found.scalar_type() == dtype));
        CHECK(at::equal(found, ops::quantized_linear(narrow.to(at::kFloat), matrix).to(dtype)));
      }
      check_refused([&] { ops::quantized_linear(x.narrow(1, 0, 64), matrix); }, "ERR_INTERNAL", "as long as those of the matrix");
    }
  }

  TEST_CASE("a row that is not finite is NaN from end to end, and it alone") {
    Numbers numbers(25);
    for (const Quantization kind : kKinds) {
      const PackedMatrix matrix = ops::pack(random_matrix(numbers, 70, 256, kind));
      const at::Tensor x = numbers.normal({9, 256}, 1);
      at::Tensor damaged = x.clone();
      damaged[1][0] = std::numeric_limits<float>::quiet_NaN();
      damaged[4][255] = std::numeric_limits<float>::infinity();
      damaged[8][130] = -std::numeric_limits<float>::infinity();
      for (const InstructionSet instructions : ops::instruction_sets()) {
        CAPTURE(static_cast<int>(instructions));
        const at::Tensor sound = product(x, matrix, instructions), found = product(damaged, matrix, instructions);
        for (int64_t row = 0; row < 9; ++row) {
          CAPTURE(row);
          if (row == 1 || row == 4 || row == 8)
            CHECK(found[row].isnan().all().item<bool>());
          else
            CHECK(at::equal(found[row], sound[row]));
        }
      }
    }
  }

  TEST_CASE("the largest numbers there are, and the smallest") {
    const QuantizedMatrix int8{Quantization::int8, at::full({33, 256}, -128, at::kChar), at::ones({33}, at::kBFloat16)};
    const QuantizedMatrix int4{Quantization::int4, at::full({33, 128}, 0xFF, at::kByte), at::ones({33, 2, 2}, at::kBFloat16)};
    for (const QuantizedMatrix& matrix : {int8, int4}) {
      const PackedMatrix packed = ops::pack(matrix);
      const double weight = matrix.kind == Quantization::int8 ? -128 : 8;
      for (const InstructionSet instructions : ops::instruction_sets()) {
        CAPTURE(static_cast<int>(instructions));
        for (const double size : {1.0, -1.0, 1e30, 1e-20}) {
          CAPTURE(size);
          const at::Tensor x = at::full({3, 256}, size, at::kFloat);
          check_close(product(x, packed, instructions) / (weight * 256 * size), at::ones({3, 33}), 1e-6, "sums of the same number");
        }
        for (const double size : {0.0, 1e-36, 1e-45}) check_equal(product(at::full({3, 256}, size, at::kFloat), packed, instructions), at::zeros({3, 33}), "nothing");
        // A step for each 128 numbers: what is small beside the loud is not lost.
        at::Tensor x = at::zeros({1, 256});
        x[0].narrow(0, 0, 128) = 1e6;
        x[0].narrow(0, 128, 128) = 1e-3;
        x[0].narrow(0, 0, 64) *= -1;
        check_close(product(x, packed, instructions), at::full({1, 33}, weight * 0.128), 1e-6 * 128, "beside loud numbers");
      }
    }
  }

  TEST_CASE("libtorch gives the same from the whole matrix, on every device") {
    Numbers numbers(26);
    for (const Quantization kind : kKinds) {
      const QuantizedMatrix matrix = random_matrix(numbers, 50, 256, kind);
      const at::Tensor x = numbers.normal({2, 3, 256}, 1);
      const at::Tensor wanted = at::linear(x.to(at::kDouble), ops::dequantize(matrix, at::kDouble));
      for (const at::Device& device : devices())
        for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 5e-2}}) {
          const QuantizedMatrix there{kind, matrix.numbers.to(device), matrix.scales.to(device)};
          const at::Tensor found = ops::quantized_linear_plain(x.to(device, dtype), there);
          CHECK((found.scalar_type() == dtype));
          check_close(found, wanted, tolerance, "the product");
        }
    }
  }
}
