#include "ops/grouped_linear.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  const int64_t rows = x.size(0), groups = weight.size(0), out = weight.size(2);
  at::Tensor result = at::full({rows, groups, out}, 1e30F);
  ops::grouped_linear(x.const_data_ptr<float>(), rows, ops::panels_of(weight), ops::panels_of(bias), out, result.data_ptr<float>());
  return result;
}

}  // namespace

TEST_SUITE("ops/grouped_linear") {
  TEST_CASE("is the plain product, for any numbers of rows, groups, inputs and outputs") {
    Numbers numbers(1);
    for (const int64_t rows : {1, 2, 3, 4, 5, 9})
      for (const int64_t groups : {1, 3})
        for (const int64_t in : {1, 7, 16, 33})
          for (const int64_t out : {1, 5, 8, 16, 60, 64, 71, 136}) {
            const at::Tensor x = numbers.normal({rows, groups, in}, 1), weight = numbers.normal({groups, in, out}, 1);
            const at::Tensor bias = numbers.normal({groups, 1, out}, 1);
            const at::Tensor wanted = at::einsum("rgi,gio->rgo", {x.to(at::kDouble), weight.to(at::kDouble)}) + bias.view({1, groups, out});
            const at::Tensor found = product(x, weight, bias);
            check_close(found, wanted, 5e-6 * static_cast<double>(in), position(0, {rows, groups, in, out}));
          }
  }

  TEST_CASE("the bits of a row do not depend on the rows beside it") {
    Numbers numbers(2);
    const at::Tensor x = numbers.normal({11, 2, 37}, 1), weight = numbers.normal({2, 37, 90}, 1), bias = numbers.normal({2, 1, 90}, 1);
    const at::Tensor together = product(x, weight, bias);
    for (int64_t row = 0; row < 11; ++row)
      for (int64_t rows = 1; row + rows <= 11; ++rows)
        check_equal(product(x.narrow(0, row, rows).contiguous(), weight, bias), together.narrow(0, row, rows), "rows from " + std::to_string(row));
  }

  TEST_CASE("panels are padded with zeros") {
    const at::Tensor panels = ops::panels_of(at::arange(1, 21, at::kFloat).view({1, 2, 10}));
    CHECK(panels.sizes() == at::IntArrayRef({1, 2, 2, 8}));
    check_equal(panels[0][1][1], at::tensor({19.0F, 20.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F}), "the second panel's second row");
    check_refused([] { ops::panels_of(at::ones({2, 3})); }, "ERR_INTERNAL", "a matrix for each group");
  }
}
