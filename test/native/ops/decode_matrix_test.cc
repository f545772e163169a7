#include "ops/decode_matrix.h"

#include <doctest.h>

#include <cstring>

#include "ops/quantized_linear.h"
#include "support/networks.h"
#include "support/settings.h"

using namespace metavoice;
using namespace metavoice::testing;
using core::Quantization;

namespace {

// Number i of a row, by the words of ops/decode_step.h.
int number_of(const ops::DecodeMatrix& matrix, int64_t row, int64_t i) {
  const int64_t in = matrix.in, t = i % 32 / 8, number = i % 8;
  const at::Tensor numbers = matrix.numbers.cpu().contiguous();
  const auto* bytes = static_cast<const uint8_t*>(numbers.const_data_ptr());
  if (matrix.kind == Quantization::int8) return static_cast<int8_t>(bytes[row * in + i / 64 * 64 + 16 * t + i % 64 / 32 * 8 + number]);
  uint32_t word = 0;
  std::memcpy(&word, bytes + row * in / 2 + i / 128 * 64 + 16 * t + i % 128 / 32 * 4, sizeof(word));
  return static_cast<int>(word >> (number % 2 * 16 + number / 2 * 4) & 15);
}

}  // namespace

TEST_SUITE("ops/decode_matrix") {
  TEST_CASE("has the numbers where the kernels look for them, and gives them back in the order of the file") {
    for (const at::Device& device : devices())
      for (const Quantization kind : {Quantization::int8, Quantization::int4}) {
        CAPTURE(device.str());
        CAPTURE(kind == Quantization::int8);
        const at::Tensor weight = Numbers(3).normal({5, 384}, 0.1);
        const ops::QuantizedMatrix plain = ops::quantize(weight, kind);
        const ops::QuantizedMatrix matrix{kind, plain.numbers.to(device), plain.scales.to(device)};
        for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16, at::kFloat}) {
          const ops::DecodeMatrix reordered = ops::reorder_for_decode(matrix, dtype);
          CHECK(reordered.served);
          CHECK(reordered.in == 384);
          CHECK(reordered.numbers.is_contiguous());
          CHECK(reordered.scales.is_contiguous());
          CHECK((reordered.scales.scalar_type() == (kind == Quantization::int8 ? at::kFloat : dtype)));
          CHECK(at::equal(reordered.scales.cpu().to(at::kFloat), plain.scales.to(at::kFloat)));
          int wrong = 0;
          for (int64_t row = 0; row < 5; ++row)
            for (int64_t i = 0; i < 384; ++i) {
              const int byte = kind == Quantization::int8 ? plain.numbers[row][i].item<int>() : plain.numbers[row][i / 2].item<int>();
              const int wanted = kind == Quantization::int8 ? byte : i % 2 == 0 ? byte & 15 : byte >> 4;
              wrong += number_of(reordered, row, i) != wanted;
            }
          CHECK(wrong == 0);
          const ops::QuantizedMatrix back = ops::in_stored_order(reordered);
          CHECK(at::equal(back.numbers.cpu(), plain.numbers));
          CHECK(at::equal(back.scales.cpu(), plain.scales));
          const at::Tensor x = Numbers(4).normal({3, 384}, 1).to(device);
          CHECK(at::equal(ops::quantized_linear_plain(x, back).cpu(), ops::quantized_linear_plain(x, matrix).cpu()));
        }
      }
  }

  TEST_CASE("leaves rows as they are that the kernels do not take") {
    const ops::QuantizedMatrix matrix = ops::quantize(Numbers(5).normal({3, 96}, 1), Quantization::int8);
    const ops::DecodeMatrix reordered = ops::reorder_for_decode(matrix, at::kBFloat16);
    CHECK_FALSE(reordered.served);
    CHECK(at::equal(reordered.numbers, matrix.numbers));
    CHECK(at::equal(ops::in_stored_order(reordered).numbers, matrix.numbers));
    CHECK(at::equal(ops::in_stored_order(reordered).scales, matrix.scales));
  }

  TEST_CASE("shows scales beyond float16 as infinite") {
    const ops::QuantizedMatrix matrix = ops::quantize(at::full({1, 128}, 1e5F), Quantization::int4);
    CHECK_FALSE(ops::reorder_for_decode(matrix, at::kHalf).scales.isfinite().all().item<bool>());
    CHECK(ops::reorder_for_decode(matrix, at::kBFloat16).scales.isfinite().all().item<bool>());
  }
}
