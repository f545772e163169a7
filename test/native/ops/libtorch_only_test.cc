#include "ops/libtorch_only.h"

#include <doctest.h>

#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/swiglu.h"
#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("ops/libtorch_only") {
  TEST_CASE("products, norms and gates of this thread are libtorch's while one lives") {
    Numbers numbers(5);
    const at::Tensor x = numbers.normal({4, 33}, 1), weight = numbers.normal({9, 33}, 1);
    CHECK(ops::LibtorchOnly::current() == nullptr);
    {
      const ops::LibtorchOnly plain;
      CHECK(ops::LibtorchOnly::current() == &plain);
      CHECK(at::equal(ops::linear(x, weight), at::linear(x, weight)));
      const at::Tensor narrow = weight.to(at::kBFloat16), sum = at::zeros({4, 9});
      for (int again = 0; again < 2; ++again) CHECK(at::equal(ops::linear(x, narrow), at::linear(x, narrow.to(at::kFloat))));
      ops::add_linear(sum, x, weight);
      CHECK(at::equal(sum, at::linear(x, weight)));
      CHECK(at::equal(ops::swiglu(x, 2 * x), at::silu(x).mul_(2 * x)));
      CHECK(at::equal(ops::rms_norm(x, weight[0], 1e-5, at::kBFloat16), at::rms_norm(x, {33}, weight[0], 1e-5).to(at::kBFloat16)));
      {
        const ops::LibtorchOnly inner;
        CHECK(ops::LibtorchOnly::current() == &inner);
      }
      CHECK(ops::LibtorchOnly::current() == &plain);
    }
    CHECK(ops::LibtorchOnly::current() == nullptr);
    CHECK(at::equal(ops::linear(x, weight), ops::linear_rows(x, weight)));
  }

  TEST_CASE("its products with integers are those of the whole matrix, within the rounding of the dtype") {
    Numbers numbers(6);
    for (const core::Quantization kind : {core::Quantization::int8, core::Quantization::int4})
      for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-4}, {at::kBFloat16, 2e-1}})
        for (const int64_t out : {128, 9}) {
          CAPTURE(out);
          const ops::QuantizedMatrix matrix = ops::quantize(numbers.normal({out, 256}, 0.06), kind);
          const ops::PackedMatrix packed = ops::pack(matrix);
          const at::Tensor whole = ops::dequantize(matrix, at::kFloat).to(at::kDouble);
          ops::LibtorchOnly plain;
          for (const std::vector<int64_t>& shape : {std::vector<int64_t>{2, 256}, {2, 1, 256}, {1, 5, 256}}) {
            const at::Tensor x = numbers.normal(shape, 1).to(dtype);
            const at::Tensor wanted = at::linear(x.to(at::kDouble), whole);
            CHECK((ops::quantized_linear(x, packed).scalar_type() == dtype));
            check_close(ops::quantized_linear(x, packed), wanted, tolerance, "product");
            check_equal(plain.linear(x, packed), ops::quantized_linear(x, packed), "again, in the order that is known");
          }
        }
  }
}
