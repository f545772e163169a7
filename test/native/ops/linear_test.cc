#include "ops/linear.h"

#include <ATen/Parallel.h>
#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("ops/linear") {
  TEST_CASE("our loops give the sums, whatever the shape") {
    Numbers numbers(3);
    for (const int64_t in : {1, 15, 16, 17, 64, 259})
      for (const int64_t out : {1, 3, 4, 5, 66}) {
        const at::Tensor weight = numbers.normal({out, in}, 1).to(at::kFloat);
        for (const int64_t rows : {1, 2, 3, 5, 6, 7, 11, 12, 40}) {
          CAPTURE(in);
          CAPTURE(out);
          CAPTURE(rows);
          const at::Tensor x = numbers.normal({rows, in}, 1).to(at::kFloat);
          check_close(ops::linear_rows(x, weight), at::linear(x.to(at::kDouble), weight.to(at::kDouble)), 1e-5, "sums");
        }
      }
  }

  TEST_CASE("a row has the same bits alone, in any company, at any place, and with any number of threads") {
    Numbers numbers(4);
    const at::Tensor weight = numbers.normal({70, 259}, 1).to(at::kFloat), x = numbers.normal({40, 259}, 1).to(at::kFloat);
    const at::Tensor wanted = ops::linear_rows(x, weight);
    for (int64_t rows = 1; rows <= 40; ++rows) {
      CAPTURE(rows);
      CHECK(at::equal(ops::linear_rows(x.narrow(0, 40 - rows, rows), weight), wanted.narrow(0, 40 - rows, rows)));
      CHECK(at::equal(ops::linear_rows(x.narrow(0, 0, rows).flip(0), weight).flip(0), wanted.narrow(0, 0, rows)));
    }
    const int threads = at::get_num_threads();
    at::set_num_threads(1);
    const at::Tensor single = ops::linear_rows(x, weight);
    at::set_num_threads(threads);
    CHECK(at::equal(single, wanted));
  }

  TEST_CASE("a decode step goes through the loops, all else to libtorch; both are the product") {
    Numbers numbers(5);
    for (const at::Device& device : devices())
      for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-5}, {at::kBFloat16, 4e-2}}) {
        const at::Tensor weight = numbers.normal({9, 33}, 0.2).to(device, dtype), bias = numbers.normal({9}, 1).to(device, dtype);
        for (const std::vector<int64_t>& shape : {std::vector<int64_t>{33}, {3, 33}, {3, 1, 33}, {3, 4, 33}, {0, 33}}) {
          CAPTURE(shape.size());
          const at::Tensor x = numbers.normal(shape, 1).to(device, dtype);
          const at::Tensor wanted = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
          CHECK(ops::linear(x, weight).sizes() == wanted.sizes());
          if (x.numel() == 0) continue;
          check_close(ops::linear(x, weight), wanted, tolerance, "without a bias");
          check_close(ops::linear(x, weight, bias), wanted + bias.to(at::kDouble), tolerance, "with a bias");
        }
      }
    const at::Tensor x = numbers.normal({4, 33}, 1).to(at::kFloat), weight = numbers.normal({9, 33}, 1).to(at::kFloat);
    CHECK(at::equal(ops::linear(x, weight), ops::linear_rows(x, weight)));
    CHECK(at::equal(ops::linear(x.unsqueeze(1), weight).squeeze(1), ops::linear_rows(x, weight)));
    // Columns of a wider matrix, and one that is turned.
    check_close(ops::linear(x.narrow(1, 0, 16), weight.narrow(1, 0, 16)), at::linear(x.narrow(1, 0, 16).to(at::kDouble), weight.narrow(1, 0, 16).to(at::kDouble)), 1e-5, "columns");
    check_close(ops::linear(x.t().contiguous().t(), weight), ops::linear_rows(x, weight), 1e-6, "turned");
  }
}
