#include "ops/swiglu.h"

#include <ATen/Parallel.h>
#include <doctest.h>

#include <cmath>
#include <limits>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

at::Tensor exact(const at::Tensor& gate, const at::Tensor& up) { return at::silu(gate.to(at::kDouble)) * up.to(at::kDouble); }

}  // namespace

TEST_SUITE("ops/swiglu") {
  TEST_CASE("refuses what does not match") {
    check_refused([] { ops::swiglu(at::ones({2, 3}), at::ones({3, 2})); }, "ERR_INTERNAL", "as large as what it lets through");
    check_refused([] { ops::swiglu(at::ones({2, 3}), at::ones({2, 3}, at::kHalf)); }, "ERR_INTERNAL", "as large as what it lets through");
  }

  TEST_CASE("is the formula with one rounding, for every shape in every dtype on every device") {
    Numbers numbers(41);
    for (const at::Device& device : devices())
      for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1}, {7}, {8}, {3, 33}, {2, 5632}, {2, 9, 40}, {0, 5}})
        for (const auto& [dtype, relative] : {std::pair{at::kFloat, 5e-7}, {at::kHalf, 0x1p-10}, {at::kBFloat16, 0x1p-7}}) {
          const at::Tensor gate = numbers.normal(shape, 4).to(device, dtype), up = numbers.normal(shape, 2).to(device, dtype);
          const at::Tensor found = ops::swiglu(gate, up), wanted = exact(gate, up);
          CHECK((found.scalar_type() == dtype));
          CHECK(found.sizes() == wanted.sizes());
          if (gate.numel() == 0) continue;
          // Elsewhere libtorch rounds three times.
          const double allowed = device.is_cpu() ? relative : 3 * relative;
          check_close((found.to(at::kDouble) - wanted) / wanted.abs().clamp_min(0x1p-14), at::zeros_like(wanted), allowed, at::toString(dtype));
        }
  }

  TEST_CASE("a number has the same bits wherever it stands, and with any number of threads") {
    Numbers numbers(42);
    const int threads = at::get_num_threads();
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const at::Tensor gate = numbers.normal({9001}, 3).to(dtype), up = numbers.normal({9001}, 3).to(dtype), all = ops::swiglu(gate, up);
      for (const int64_t first : {1, 3, 1000, 8990})
        for (const int64_t count : {1, 5, 8, 11}) check_equal(ops::swiglu(gate.narrow(0, first, count), up.narrow(0, first, count)), all.narrow(0, first, count), "a part");
      at::set_num_threads(3);
      check_equal(ops::swiglu(gate, up), all, "by three threads");
      at::set_num_threads(threads);
    }
  }

  TEST_CASE("the ends are those of libtorch: gates far below zero shut, what is not finite stays so") {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const auto one = [&](float gate, float up) { return ops::swiglu(at::full({1}, gate, dtype), at::full({1}, up, dtype)).item<float>(); };
      CHECK(one(0, 5) == 0);
      CHECK(one(-200, 5) == 0);
      CHECK(one(200, 5) == 1000);
      CHECK(one(infinity, 1) == infinity);
      CHECK(std::isnan(one(-infinity, 1)));
      CHECK(std::isnan(one(nan, 1)));
      CHECK(std::isnan(one(1, nan)));
      CHECK(one(1, -infinity) == -infinity);
    }
    CHECK(std::isinf(ops::swiglu(at::full({1}, 60000, at::kHalf), at::full({1}, 2, at::kHalf)).item<float>()));
  }
}
