#include "layers/kv_cache.h"

#include <doctest.h>

#include "support/compare.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

at::Tensor block(float value, int64_t positions, at::TensorOptions options) { return at::full({2, 3, positions, 4}, value, options); }

}  // namespace

TEST_SUITE("layers/kv_cache") {
  TEST_CASE("refuses more positions than it has room for, and stays as it was") {
    layers::KvCache cache(1, 2, 3, 5, 4, at::kFloat);
    cache.append(0, block(1, 4, at::kFloat), block(1, 4, at::kFloat));
    cache.advance(4);
    check_refused([&] { cache.append(0, block(2, 2, at::kFloat), block(2, 2, at::kFloat)); }, "ERR_INTERNAL", "room for the positions");
    CHECK(cache.length() == 4);
    CHECK(cache.append(0, block(2, 1, at::kFloat), block(2, 1, at::kFloat)).first.size(2) == 5);
  }

  TEST_CASE("gives views of what is there, written in place and never moved") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        CAPTURE(device.str());
        const at::TensorOptions options = at::TensorOptions().device(device).dtype(dtype);
        layers::KvCache cache(2, 2, 3, 6, 4, options);
        const auto [keys, values] = cache.append(1, block(1, 3, options), block(-1, 3, options));
        cache.advance(3);
        const auto [more_keys, more_values] = cache.append(1, block(2, 1, options), block(-2, 1, options));
        cache.advance(1);
        CHECK(cache.length() == 4);
        CHECK(keys.const_data_ptr() == more_keys.const_data_ptr());
        CHECK(values.const_data_ptr() == more_values.const_data_ptr());
        CHECK((more_keys.scalar_type() == dtype));
        check_equal(more_keys, at::cat({block(1, 3, options), block(2, 1, options)}, 2), "keys");
        check_equal(more_values, at::cat({block(-1, 3, options), block(-2, 1, options)}, 2), "values");
      }
    }
  }

  TEST_CASE("keeps its layers apart") {
    layers::KvCache cache(2, 2, 3, 2, 4, at::kFloat);
    const auto first = cache.append(0, block(1, 1, at::kFloat), block(2, 1, at::kFloat));
    cache.append(1, block(3, 1, at::kFloat), block(4, 1, at::kFloat));
    check_equal(first.first, block(1, 1, at::kFloat), "keys of layer 0");
    check_equal(first.second, block(2, 1, at::kFloat), "values of layer 0");
  }

  TEST_CASE("converts to its own dtype when appending") {
    layers::KvCache cache(1, 2, 3, 1, 4, at::kBFloat16);
    const auto views = cache.append(0, block(1.00390625F, 1, at::kFloat), block(3, 1, at::kFloat));
    check_equal(views.first, block(1.0F, 1, at::kFloat), "rounded to even");
  }

  TEST_CASE("forgets the last positions when they are computed again") {
    layers::KvCache cache(1, 2, 3, 6, 4, at::kFloat);
    cache.append(0, block(1, 3, at::kFloat), block(1, 3, at::kFloat));
    cache.advance(3);
    cache.append(0, block(2, 2, at::kFloat), block(2, 2, at::kFloat));
    cache.advance(2);
    cache.rewind(2);
    CHECK(cache.length() == 3);
    const auto [keys, values] = cache.append(0, block(5, 1, at::kFloat), block(5, 1, at::kFloat));
    check_equal(keys, at::cat({block(1, 3, at::kFloat), block(5, 1, at::kFloat)}, 2), "keys");
  }

  TEST_CASE("a float16 cache widens for numbers beyond it, and loses nothing") {
    for (const at::Device& device : devices()) {
      const at::TensorOptions half = at::TensorOptions().device(device).dtype(at::kHalf), wide = half.dtype(at::kFloat);
      layers::KvCache cache(2, 2, 3, 6, 4, half);
      for (const int64_t layer : {0, 1}) cache.append(layer, block(1, 2, half), block(2, 2, half));
      cache.advance(2);
      cache.append(0, block(3, 1, wide), block(65504, 1, wide));
      CHECK((cache.dtype() == at::kHalf));
      const auto [keys, values] = cache.append(1, block(-70000, 1, wide), block(4, 1, wide));
      CHECK((cache.dtype() == at::kFloat));
      check_equal(keys, at::cat({block(1, 2, wide), block(-70000, 1, wide)}, 2), "keys");
      check_equal(values, at::cat({block(2, 2, wide), block(4, 1, wide)}, 2), "values");
      cache.advance(1);
      // The layer that had appended before still has its position.
      check_equal(cache.append(0, block(0, 1, half), block(0, 1, half)).second,
                  at::cat({block(2, 2, wide), block(65504, 1, wide), block(0, 1, wide)}, 2), "the layer before");
    }
  }

  TEST_CASE("begins anew in float32") {
    layers::KvCache cache(1, 2, 3, 6, 4, at::kBFloat16);
    cache.append(0, block(1, 3, at::kBFloat16), block(1, 3, at::kBFloat16));
    cache.advance(3);
    cache.restart_in_float32();
    CHECK(cache.length() == 0);
    CHECK((cache.dtype() == at::kFloat));
    check_equal(cache.append(0, block(7, 6, at::kFloat), block(7, 6, at::kFloat)).first, block(7, 6, at::kFloat), "keys");
  }
}
