#include "engine/row_counts.h"

#include <doctest.h>

#include <algorithm>
#include <set>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::RowCounts;

namespace {

struct Tried {
  std::vector<int64_t> sizes;
  RowCounts counts(int64_t most, std::vector<int64_t> unsafe) {
    return {most, [this, unsafe](int64_t rows) {
              sizes.push_back(rows);
              return std::find(unsafe.begin(), unsafe.end(), rows) == unsafe.end();
            }};
  }
};

}  // namespace

TEST_SUITE("engine/row_counts") {
  TEST_CASE("pads to the next size, of which there are few, and tries each once") {
    Tried tried;
    RowCounts counts = tried.counts(128, {});
    const std::vector<std::pair<int64_t, int64_t>> wanted = {{1, 2}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {12, 12}, {13, 16}, {17, 24}, {25, 32}, {33, 48}, {49, 64}, {100, 128}, {128, 128}};
    for (const auto& [rows, padded] : wanted) {
      CAPTURE(rows);
      const RowCounts::Count count = counts.next(rows);
      CHECK(count.rows == rows);
      CHECK(count.padded == padded);
      CHECK(counts.next(rows).padded == padded);
    }
    CHECK(std::set<int64_t>(tried.sizes.begin(), tried.sizes.end()).size() == tried.sizes.size());
  }

  TEST_CASE("where every number of rows may do, it is tried as it is before it is padded") {
    Tried tried;
    RowCounts counts(16, [&](int64_t rows) {
      tried.sizes.push_back(rows);
      return rows != 5 && rows != 8;
    }, RowCounts::Sizes::all);
    for (const int64_t rows : {1, 2, 3, 7, 16}) CHECK(counts.next(rows).padded == rows);
    CHECK(counts.next(5).padded == 12);
    CHECK(counts.next(5).rows == 5);
    CHECK(tried.sizes == std::vector<int64_t>{1, 2, 3, 7, 16, 5, 8, 12});
    // Beyond the most that was foreseen: as many as may go together.
    CHECK(counts.next(40).rows == 16);
  }

  TEST_CASE("a size whose bits differ is passed over for the next one") {
    Tried tried;
    RowCounts counts = tried.counts(64, {8, 12, 24});
    CHECK(counts.next(6).padded == 16);
    CHECK(counts.next(20).padded == 32);
    CHECK(counts.next(4).padded == 4);
  }

  TEST_CASE("where no larger size is safe the rows go in several batches") {
    Tried tried;
    RowCounts counts = tried.counts(32, {16, 24, 32});
    RowCounts::Count count = counts.next(30);
    CHECK(count.rows == 12);
    CHECK(count.padded == 12);
    Tried none;
    count = none.counts(32, {8, 12, 16, 24, 32}).next(30);
    CHECK(count.rows == 4);
    CHECK(count.padded == 4);
    // Also beyond the most that was foreseen.
    CHECK(tried.counts(16, {}).next(40).rows <= 16);
  }

  TEST_CASE("the CPU takes rows as they come; a GPU promises bits for one size alone, and only when asked") {
    const models::FirstStage stage(opened(small_first_stage(64)), first_config_of(small_first_stage(64)));
    if (stage.device().is_cpu()) {
      RowCounts counts = RowCounts::of(stage, 16, true);
      for (const int64_t rows : {1, 2, 3, 7, 13}) CHECK(counts.next(rows).padded == rows);
    }
    for (const at::Device& device : devices()) {
      if (device.is_cpu()) continue;
      const models::FirstStage other(opened(small_first_stage(64), {device, at::kFloat}), first_config_of(small_first_stage(64)));
      CHECK(RowCounts::of(other, 16, true).next(3).padded == 16);
      CHECK(RowCounts::of(other, 16, false).next(3).padded == 4);
    }
  }

  TEST_CASE("finds every size good where the matrices are quantised, in every dtype") {
    const NetworkSizes sizes{.heads = 2, .width = 128, .hidden = 256, .vocabularies = {41}};
    for (const core::Quantization quantization : {core::Quantization::int8, core::Quantization::int4})
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        CAPTURE(dtype);
        CAPTURE(quantization == core::Quantization::int8);
        const models::FirstStage stage(opened(random_transformer(sizes, 3), {at::kCPU, dtype, quantization}), small_first_config());
        for (const int64_t rows : {1, 2, 4, 8, 12, 24, 48}) CHECK(engine::same_bits(stage, rows));
      }
  }

  TEST_CASE("tells whether a model has the same bits in a batch as in fours") {
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const models::FirstStage stage(opened(small_first_stage(64), {at::kCPU, dtype}), first_config_of(small_first_stage(64)));
      // The loops are our own: every number will do.
      for (const int64_t rows : {1, 2, 3, 4, 5, 7, 8, 12, 17, 24, 48}) CHECK(engine::same_bits(stage, rows));
    }
  }
}
