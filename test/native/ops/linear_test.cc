#include "ops/linear.h"

#include <ATen/Parallel.h>
#include <doctest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

struct Kind {
  at::ScalarType x, weight;
};
constexpr Kind kKinds[] = {{at::kFloat, at::kFloat}, {at::kHalf, at::kHalf}, {at::kBFloat16, at::kBFloat16}, {at::kFloat, at::kHalf}, {at::kFloat, at::kBFloat16}};

std::string name_of(const Kind& kind, ops::InstructionSet instructions) {
  return std::string(at::toString(kind.x)) + " by " + at::toString(kind.weight) + ", loops " + std::to_string(static_cast<int>(instructions));
}

at::Tensor exact(const at::Tensor& x, const at::Tensor& weight) { return at::linear(x.to(at::kDouble), weight.to(at::kDouble)); }

// Half of the last place of what a dtype holds, of a number of this size.
double rounding(at::ScalarType dtype, double size) { return dtype == at::kFloat ? 0 : size * (dtype == at::kHalf ? 0x1p-11 : 0x1p-8); }

}  // namespace

TEST_SUITE("ops/linear") {
  TEST_CASE("our loops give the sums, whatever the shape, by every set of instructions that is here") {
    Numbers numbers(3);
    for (const int64_t in : {1, 15, 16, 17, 31, 32, 33, 64, 259, 1100})
      for (const int64_t out : {1, 3, 4, 5, 66}) {
        const at::Tensor all = numbers.normal({out, in}, 1), activations = numbers.normal({64, in}, 1);
        for (const Kind& kind : kKinds)
          for (const ops::InstructionSet instructions : ops::instruction_sets())
            for (const int64_t rows : {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16, 17, 64}) {
              CAPTURE(in);
              CAPTURE(out);
              CAPTURE(rows);
              const at::Tensor x = activations.narrow(0, 0, rows).to(kind.x), weight = all.to(kind.weight);
              const at::Tensor wanted = exact(x, weight);
              const double size = wanted.abs().max().item<double>();
              check_close(ops::linear_rows(x, weight, instructions), wanted, 1e-6 * (10 + size) + rounding(kind.x, size), name_of(kind, instructions));
              const at::Tensor start = numbers.normal({rows, out}, 1), sum = start.clone();
              ops::add_linear_rows(sum, x, weight, instructions);
              check_close(sum, start.to(at::kDouble) + wanted, 1e-6 * (10 + size), "added, " + name_of(kind, instructions));
            }
      }
  }

  TEST_CASE("a row has the same bits alone, in any company, at any place, and with any number of threads") {
    Numbers numbers(4);
    for (const Kind& kind : kKinds)
      for (const ops::InstructionSet instructions : ops::instruction_sets()) {
        const std::string name = name_of(kind, instructions);
        CAPTURE(name);
        const at::Tensor weight = numbers.normal({2050, 1100}, 1).to(kind.weight), x = numbers.normal({40, 1100}, 1).to(kind.x);
        const at::Tensor wanted = ops::linear_rows(x, weight, instructions);
        for (int64_t rows = 1; rows <= 40; ++rows) {
          CAPTURE(rows);
          CHECK(at::equal(ops::linear_rows(x.narrow(0, 40 - rows, rows), weight, instructions), wanted.narrow(0, 40 - rows, rows)));
          CHECK(at::equal(ops::linear_rows(x.narrow(0, 0, rows).flip(0), weight, instructions).flip(0), wanted.narrow(0, 0, rows)));
        }
        // A column, too, wherever it lies.
        CHECK(at::equal(ops::linear_rows(x, weight.narrow(0, 1, 9), instructions), wanted.narrow(1, 1, 9)));
        const int before = at::get_num_threads();
        for (const int threads : {1, 2, 5}) {
          at::set_num_threads(threads);
          CHECK(at::equal(ops::linear_rows(x, weight, instructions), wanted));
        }
        at::set_num_threads(before);
      }
  }

  TEST_CASE("a prompt is the product of its positions, whoever computes it") {
    Numbers numbers(5);
    for (const Kind& kind : kKinds) {
      const at::Tensor weight = numbers.normal({130, 520}, 1).to(kind.weight);
      for (const int64_t positions : {1, 31, 90}) {
        const std::string name = name_of(kind, ops::instruction_sets().back()) + ", positions " + std::to_string(positions);
        CAPTURE(name);
        const at::Tensor x = numbers.normal({2, positions, 520}, 1).to(kind.x), wanted = exact(x, weight);
        const double size = wanted.abs().max().item<double>();
        const at::Tensor product = ops::linear(x, weight);
        CHECK(product.sizes() == at::IntArrayRef({2, positions, 130}));
        check_close(product, wanted, 1e-6 * (10 + size) + rounding(kind.x, size), name);
        const at::Tensor start = numbers.normal({2, positions, 130}, 1), added = start.clone();
        ops::add_linear(added, x, weight);
        check_close(added, start.to(at::kDouble) + wanted, 1e-6 * (10 + size) + rounding(kind.x, size), "added, " + name);
        if (ops::instruction_sets().back() != ops::InstructionSet::avx2) continue;
        CHECK(at::equal(product, ops::linear_rows(x.reshape({-1, 520}), weight).view({2, positions, 130})));
      }
    }
  }

  TEST_CASE("numbers at the edges of 16 bit come through: subnormal, largest, infinite, none") {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16})
      for (const ops::InstructionSet instructions : ops::instruction_sets()) {
        const std::string name = name_of({dtype, dtype}, instructions);
        CAPTURE(name);
        const auto product = [&](float number, int64_t in) {
          const at::Tensor weight = at::zeros({4, in}, dtype), x = at::ones({2, in}, dtype);
          weight.select(1, in / 2).fill_(number);
          return ops::linear_rows(x, weight, instructions)[1][3].item<float>();
        };
        for (const int64_t in : {8, 33, 64}) {
          if (dtype == at::kHalf) CHECK(product(0x1p-24F, in) == 0x1p-24F);
          CHECK(product(dtype == at::kHalf ? 65504.0F : 0x1.FEp127F, in) == (dtype == at::kHalf ? 65504.0F : 0x1.FEp127F));
          CHECK(product(-0x1p-14F, in) == -0x1p-14F);
          // What is no number is not made one: steps are judged by it. The portable widening knows finite weights only.
          if (dtype == at::kHalf && instructions == ops::InstructionSet::baseline) continue;
          CHECK(std::isinf(product(infinity, in)));
          CHECK(std::isnan(product(nan, in)));
        }
        // A sum beyond the dtype is infinite where it is rounded to it, and not where it is added.
        if (dtype != at::kHalf) continue;
        const at::Tensor x = at::full({1, 64}, 200.0F, dtype), weight = at::full({4, 64}, 200.0F, dtype), sum = at::zeros({1, 4});
        CHECK(std::isinf(ops::linear_rows(x, weight, instructions)[0][0].item<float>()));
        ops::add_linear_rows(sum, x, weight, instructions);
        CHECK(sum[0][0].item<float>() == 64 * 40000.0F);
      }
  }

  TEST_CASE("weights are read where they lie: nothing before or behind them is touched by the sums") {
    // Poison on both sides of weights and activations.
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const Kind& kind : kKinds)
      for (const ops::InstructionSet instructions : ops::instruction_sets())
        for (const int64_t in : {31, 40, 64}) {
          const at::Tensor weights = at::full({9 * in + 200}, nan, kind.weight), xs = at::full({3 * in + 200}, nan, kind.x);
          const at::Tensor weight = weights.narrow(0, 100, 9 * in).view({9, in}), x = xs.narrow(0, 100, 3 * in).view({3, in});
          weight.fill_(0.5);
          x.fill_(2);
          check_equal(ops::linear_rows(x, weight, instructions), at::full({3, 9}, in), name_of(kind, instructions));
        }
  }

  TEST_CASE("refuses other dtypes and shapes that do not fit") {
    const at::Tensor x = at::ones({2, 8}), weight = at::ones({4, 8});
    check_refused([&] { ops::linear_rows(x, at::ones({4, 9})); }, "ERR_INTERNAL", "matrices in order");
    check_refused([&] { ops::linear_rows(x, at::ones({8, 4}).t()); }, "ERR_INTERNAL", "matrices in order");
    check_refused([&] { ops::linear_rows(x, weight.to(at::kDouble)); }, "ERR_INTERNAL", "weights of float32");
    check_refused([&] { ops::linear_rows(x.to(at::kHalf), weight.to(at::kBFloat16)); }, "ERR_INTERNAL", "activations of the weights' dtype");
    check_refused([&] { ops::add_linear_rows(at::zeros({2, 4}, at::kHalf), x, weight); }, "ERR_INTERNAL", "sums of float32");
    check_refused([&] { ops::add_linear_rows(at::zeros({2, 5}), x, weight); }, "ERR_INTERNAL", "sums of float32");
  }

  TEST_CASE("a decode step goes through the loops, all else to libtorch; both are the product, and both can be added") {
    Numbers numbers(5);
    for (const at::Device& device : devices())
      for (const Kind& kind : kKinds) {
        const double tolerance = kind.x == at::kBFloat16 ? 4e-2 : kind.x == at::kHalf ? 5e-3 : 1e-5;
        const at::Tensor weight = numbers.normal({9, 33}, 0.2).to(device, kind.weight), bias = numbers.normal({9}, 1).to(device, kind.weight);
        for (const std::vector<int64_t>& shape : {std::vector<int64_t>{33}, {3, 33}, {3, 1, 33}, {3, 4, 33}, {0, 33}}) {
          CAPTURE(shape.size());
          const at::Tensor x = numbers.normal(shape, 1).to(device, kind.x);
          const at::Tensor wanted = exact(x, weight);
          CHECK(ops::linear(x, weight).sizes() == wanted.sizes());
          CHECK((ops::linear(x, weight).scalar_type() == kind.x));
          if (x.numel() == 0) continue;
          check_close(ops::linear(x, weight), wanted, tolerance, "without a bias");
          check_close(ops::linear(x, weight, bias), wanted + bias.to(at::kDouble), tolerance, "with a bias");
          const at::Tensor start = numbers.normal(wanted.sizes(), 1).to(device), sum = start.clone();
          ops::add_linear(sum, x, weight);
          check_close(sum, start + wanted, tolerance, "added");
          ops::add_linear(sum, x, weight, bias);
          check_close(sum, start + 2 * wanted + bias.to(at::kDouble), 2 * tolerance, "added with a bias");
        }
      }
    const at::Tensor x = numbers.normal({4, 33}, 1), weight = numbers.normal({9, 33}, 1);
    CHECK(at::equal(ops::linear(x, weight), ops::linear_rows(x, weight)));
    CHECK(at::equal(ops::linear(x.unsqueeze(1), weight).squeeze(1), ops::linear_rows(x, weight)));
    // Columns of a wider matrix, and one that is turned.
    check_close(ops::linear(x.narrow(1, 0, 16), weight.narrow(1, 0, 16)), exact(x.narrow(1, 0, 16), weight.narrow(1, 0, 16)), 1e-5, "columns");
    check_close(ops::linear(x.t().contiguous().t(), weight), ops::linear_rows(x, weight), 1e-6, "turned");
  }
}
