#include "ops/rms_norm.h"

#include <ATen/Parallel.h>
#include <doctest.h>

#include <cmath>
#include <limits>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("ops/rms_norm") {
  TEST_CASE("is libtorch's, rounded to the dtype, for every width and shape on every device") {
    Numbers numbers(31);
    for (const at::Device& device : devices())
      for (const int64_t width : {1, 7, 8, 15, 16, 33, 256, 2048})
        for (const std::vector<int64_t>& shape : {std::vector<int64_t>{width}, {3, width}, {2, 40, width}, {0, width}}) {
          CAPTURE(width);
          const at::Tensor x = (numbers.normal(shape, 3) + 0.5).to(device), weight = (1 + numbers.normal({width}, 0.5)).to(device);
          const at::Tensor wanted = at::rms_norm(x.to(at::kDouble), {width}, weight.to(at::kDouble), 1e-5);
          for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 5e-6}, {at::kHalf, 5e-3}, {at::kBFloat16, 4e-2}}) {
            const at::Tensor found = ops::rms_norm(x, weight, 1e-5, dtype);
            CHECK((found.scalar_type() == dtype));
            if (x.numel() == 0) CHECK(found.sizes() == x.sizes());
            else check_close(found, wanted, tolerance, at::toString(dtype));
          }
        }
  }

  TEST_CASE("a row has the same bits alone and in company, and rounding is that of libtorch") {
    Numbers numbers(32);
    const at::Tensor x = numbers.normal({50, 2050}, 1), weight = 1 + numbers.normal({2050}, 0.2);
    const int threads = at::get_num_threads();
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const at::Tensor together = ops::rms_norm(x, weight, 1e-5, dtype);
      check_equal(together, ops::rms_norm(x, weight, 1e-5).to(dtype), "rounded");
      for (int64_t row = 0; row < 50; ++row) check_equal(ops::rms_norm(x[row], weight, 1e-5, dtype), together[row], "alone");
      at::set_num_threads(3);
      check_equal(ops::rms_norm(x, weight, 1e-5, dtype), together, "by three threads");
      at::set_num_threads(threads);
    }
  }

  TEST_CASE("what is not finite stays so") {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()})
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16})
        for (const int64_t place : {0, 9, 18}) {
          at::Tensor x = at::ones({19});
          x[place] = bad;
          CHECK(std::isnan(ops::rms_norm(x, at::ones({19}), 1e-5, dtype)[place].item<float>()));
        }
  }
}
