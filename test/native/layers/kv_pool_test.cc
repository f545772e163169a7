#include "layers/kv_pool.h"

#include <doctest.h>

#include <set>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using layers::KvPool;
using ops::PagedRow;

namespace {

const layers::KvShape kShape{2, 3, 8};

}  // namespace

TEST_SUITE("layers/kv_pool") {
  TEST_CASE("rows take a page when the one before is full, and all come back") {
    KvPool pool(kShape, 5, at::kFloat);
    CHECK(pool.pages() == 5);
    CHECK(pool.unused() == 5);
    PagedRow one, two;
    for (; one.length < 64; ++one.length) pool.extend(one);
    CHECK(one.pages.size() == 2);
    for (; two.length < 65; ++two.length) pool.extend(two);
    CHECK(two.pages.size() == 3);
    CHECK(pool.unused() == 0);
    std::set<int32_t> all(one.pages.begin(), one.pages.end());
    all.insert(two.pages.begin(), two.pages.end());
    CHECK(all == std::set<int32_t>{0, 1, 2, 3, 4});
    check_refused([&] { pool.extend(one); }, "ERR_INTERNAL", "a page of the key-value pool that nobody has");
    pool.release(two);
    CHECK(two.pages.empty());
    CHECK(two.length == 0);
    CHECK(pool.unused() == 3);
    CHECK_NOTHROW(pool.extend(one));
    pool.release(one);
    CHECK(pool.unused() == 5);
  }

  TEST_CASE("tells the bytes of a page: keys and values of 32 positions in every layer") {
    CHECK(KvPool(kShape, 1, at::kFloat).page_bytes() == 2 * 2 * 3 * 8 * 32 * 4);
    CHECK(KvPool(kShape, 1, at::kBFloat16).page_bytes() == 2 * 2 * 3 * 8 * 32 * 2);
    // And in int8 a float32 scale for each position, head and side.
    CHECK(KvPool(kShape, 1, at::kChar).page_bytes() == 2 * 2 * 3 * 32 * (8 + 4));
    CHECK(KvPool(kShape, 1, at::kChar).memory().layers[0][0].nbytes() == 2 * 3 * 32 * (8 + 4));
    CHECK(KvPool::pages_for(0) == 0);
    CHECK(KvPool::pages_for(1) == 1);
    CHECK(KvPool::pages_for(32) == 1);
    CHECK(KvPool::pages_for(33) == 2);
  }

  TEST_CASE("what is written is read back, in every dtype on every device, for any number of positions") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        KvPool pool(kShape, 8, at::TensorOptions().device(device).dtype(dtype));
        for (const int64_t positions : {1, 31, 32, 33, 100}) {
          PagedRow other, row;
          pool.extend(other);
          for (; row.length < positions; ++row.length) pool.extend(row);
          Numbers numbers(3);
          for (const int64_t layer : {0, 1}) {
            const at::Tensor keys = numbers.normal({3, positions, 8}, 1).to(device, dtype), values = numbers.normal({3, positions, 8}, 1).to(device, dtype);
            pool.write(row, layer, keys, values);
            const auto [found_keys, found_values] = pool.read(row, layer);
            check_equal(found_keys, keys, "keys");
            check_equal(found_values, values, "values");
          }
          pool.release(row);
          pool.release(other);
        }
      }
    }
  }

  TEST_CASE("in int8 each vector is read as the nearest steps of its greatest number, in float32") {
    for (const at::Device& device : devices()) {
      KvPool pool(kShape, 8, at::TensorOptions().device(device).dtype(at::kChar));
      for (const int64_t positions : {1, 31, 32, 33, 100}) {
        PagedRow row;
        for (; row.length < positions; ++row.length) pool.extend(row);
        const at::Tensor keys = Numbers(3).normal({3, positions, 8}, 1).to(device), values = Numbers(4).normal({3, positions, 8}, 1).to(device);
        pool.write(row, 1, keys, values);
        const auto [found_keys, found_values] = pool.read(row, 1);
        for (const auto& [found, given] : {std::pair{found_keys, keys}, std::pair{found_values, values}}) {
          const auto [numbers, scales] = ops::quantize_vectors(given);
          check_equal(found, numbers * scales.unsqueeze(-1), "positions");
          CHECK(((found - given).abs() / scales.unsqueeze(-1)).max().item<float>() < 0.501F);
        }
        pool.release(row);
      }
    }
  }

  TEST_CASE("positions that are written later leave those before them as they are") {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kChar}) {
      KvPool pool(kShape, 8, dtype);
      PagedRow row;
      for (; row.length < 70; ++row.length) pool.extend(row);
      const at::Tensor keys = Numbers(3).normal({3, 70, 8}, 1).to(dtype == at::kBFloat16 ? dtype : at::kFloat), values = keys.flip(1);
      pool.write(row, 0, keys, values);
      const auto [all_keys, all_values] = pool.read(row, 0);
      for (const auto& [first, last] : {std::pair{0, 20}, std::pair{20, 70}}) pool.write(row, 1, keys.slice(1, first, last), values.slice(1, first, last), first);
      const auto [keys_in_parts, values_in_parts] = pool.read(row, 1);
      check_equal(keys_in_parts, all_keys, "keys");
      check_equal(values_in_parts, all_values, "values");
    }
  }

  TEST_CASE("pages go out and come back to other places bit for bit, what nobody wrote included") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kChar}) {
        KvPool pool(kShape, 8, at::TensorOptions().device(device).dtype(dtype));
        for (const at::Tensor& slab : pool.memory().layers[1]) slab.random_(0, 100);
        PagedRow row, other;
        for (; row.length < 40; ++row.length) pool.extend(row);
        const at::Tensor out = pool.copy_out(row, 1);
        CHECK(out.is_cpu());
        CHECK(out.size(0) == 2);
        pool.release(row);
        pool.extend(other);
        for (; row.length < 40; ++row.length) pool.extend(row);
        for (const at::Tensor& slab : pool.memory().layers[1]) slab.zero_();
        pool.copy_in(row, 1, out);
        check_equal(pool.copy_out(row, 1), out, "pages");
        check_refused([&] { pool.copy_in(other, 1, out); }, "ERR_INTERNAL", "as many pages");
      }
    }
  }

  TEST_CASE("knows which numbers float16 would make infinite") {
    const at::Tensor fits = at::tensor({1.0F, -65504.0F}), large = at::tensor({1.0F, 65520.0F});
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kChar}) CHECK(KvPool(kShape, 1, dtype).holds(large));
    CHECK(KvPool(kShape, 1, at::kHalf).holds(fits));
    CHECK_FALSE(KvPool(kShape, 1, at::kHalf).holds(large));
    CHECK(KvPool(kShape, 1, at::kHalf).holds(fits.to(at::kHalf)));
  }

  TEST_CASE("refuses to write positions for which a row has no pages") {
    KvPool pool(kShape, 2, at::kFloat);
    PagedRow row;
    pool.extend(row);
    check_refused([&] { pool.write(row, 0, at::ones({3, 33, 8}), at::ones({3, 33, 8})); }, "ERR_INTERNAL", "pages for the positions");
  }

  TEST_CASE("no slab of a host is larger than a gibibyte, and pages of all slabs work") {
    // 3 heads of 2,796,202 numbers: two pages fill a slab. Pages that are not written take no memory.
    KvPool pool({1, 1, 2'000'000}, 3, at::kFloat);
    CHECK(pool.memory().layers[0].size() == 2);
    for (const at::Tensor& slab : pool.memory().layers[0]) CHECK(slab.nbytes() <= size_t{1} << 30);
    PagedRow row;
    for (; row.length < 96; row.length += 32) pool.extend(row);
    CHECK(pool.unused() == 0);
    CHECK(pool.memory().keys(0, 2).sizes() == at::IntArrayRef({1, 2'000'000, 32}));
  }
}
