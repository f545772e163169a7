#include "ops/paged_attention.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using ops::kPagePositions;
using ops::PagedMemory;
using ops::PagedRow;

namespace {

constexpr int64_t kHeads = 3;

struct Scene {
  PagedMemory memory;
  std::vector<PagedRow> rows;

  std::vector<const PagedRow*> all() const {
    std::vector<const PagedRow*> result;
    for (const PagedRow& row : rows) result.push_back(&row);
    return result;
  }
};

// Rows of these lengths over pages that lie in disorder, in slabs; what nobody wrote is NaN.
Scene scene(const std::vector<int64_t>& lengths, int64_t width, const at::TensorOptions& options, int64_t slabs = 1) {
  int64_t pages = 0;
  for (const int64_t length : lengths) pages += length / kPagePositions + 1;
  Scene result;
  result.memory.heads = kHeads;
  result.memory.head_width = width;
  result.memory.slab_pages = (pages + slabs - 1) / slabs;
  std::vector<at::Tensor> memory;
  for (int64_t slab = 0; slab < slabs; ++slab)
    memory.push_back(at::full({result.memory.slab_pages, 2, kHeads, width * kPagePositions}, std::numeric_limits<float>::quiet_NaN(), options));
  result.memory.layers = {{}, memory};  // the second layer is asked
  Numbers numbers(5);
  int32_t next = static_cast<int32_t>(pages);
  for (const int64_t length : lengths) {
    PagedRow row{{}, length};
    for (int64_t page = 0; page <= length / kPagePositions; ++page) row.pages.push_back(--next);
    for (int64_t position = 0; position < length; ++position) {
      const int32_t page = row.pages[static_cast<size_t>(position / kPagePositions)];
      result.memory.keys(1, page).select(2, position % kPagePositions).copy_(numbers.normal({kHeads, width}, 1));
      result.memory.values(1, page).select(1, position % kPagePositions).copy_(numbers.normal({kHeads, width}, 1));
    }
    result.rows.push_back(row);
  }
  return result;
}

// The formula in double, for one row.
at::Tensor wanted(const Scene& scene, const PagedRow& row, const at::Tensor& projected) {
  std::vector<at::Tensor> keys, values;
  for (int64_t position = 0; position < row.length; ++position) {
    const int32_t page = row.pages[static_cast<size_t>(position / kPagePositions)];
    keys.push_back(scene.memory.keys(1, page).select(2, position % kPagePositions));
    values.push_back(scene.memory.values(1, page).select(1, position % kPagePositions));
  }
  keys.push_back(projected[1]);
  values.push_back(projected[2]);
  const at::Tensor k = at::stack(keys).cpu().to(at::kDouble), v = at::stack(values).cpu().to(at::kDouble);  // [positions, heads, width]
  const at::Tensor q = projected[0].cpu().to(at::kDouble);
  const at::Tensor weights = at::einsum("hw,phw->hp", {q, k}).div(std::sqrt(static_cast<double>(q.size(1)))).softmax(-1);
  return at::einsum("hp,phw->hw", {weights, v});
}

double tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 2e-6 : dtype == at::kHalf ? 2e-3 : 2e-2; }

const std::vector<int64_t> kLengths = {0, 1, 31, 32, 33, 100, 257};

}  // namespace

TEST_SUITE("ops/paged_attention") {
  TEST_CASE("refuses a row whose last page is full") {
    Scene some = scene({32}, 16, at::kFloat);
    some.rows[0].pages.pop_back();
    check_refused([&] { ops::attend_paged(some.memory, 1, some.all(), at::ones({1, 3, kHeads, 16})); }, "ERR_INTERNAL", "a page with room");
  }

  TEST_CASE("is the formula, for rows of every length, head widths of every kind, in every dtype on every device") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        for (const int64_t width : {8, 16, 40, 64, 128, 200}) {
          const Scene some = scene(kLengths, width, at::TensorOptions().device(device).dtype(dtype));
          const at::Tensor projected = Numbers(6).normal({7, 3, kHeads, width}, 1).to(device, dtype);
          const at::Tensor found = ops::attend_paged(some.memory, 1, some.all(), projected);
          for (int64_t row = 0; row < 7; ++row) {
            CAPTURE(kLengths[static_cast<size_t>(row)]);
            CAPTURE(width);
            check_close(found[row], wanted(some, some.rows[static_cast<size_t>(row)], projected[row]), tolerance(dtype), "row");
          }
        }
      }
    }
  }

  TEST_CASE("our loops agree with the plain tensor operations, and both write the same memory") {
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const Scene ours = scene(kLengths, 64, dtype), plain = scene(kLengths, 64, dtype);
      const at::Tensor projected = Numbers(6).normal({7, 3, kHeads, 64}, 1).to(dtype);
      check_close(ops::attend_paged_cpu(ours.memory, 1, ours.all(), projected),
                  ops::attend_paged_plain(plain.memory, 1, plain.all(), projected).to(at::kDouble), tolerance(dtype), "attended");
      check_equal(ours.memory.layers[1][0].nan_to_num(9), plain.memory.layers[1][0].nan_to_num(9), "memory");
    }
  }

  TEST_CASE("a row has the same bits alone and in company, wherever its pages lie") {
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const Scene together = scene(kLengths, 64, dtype), apart = scene(kLengths, 64, dtype, 4);
      const at::Tensor projected = Numbers(6).normal({8, 3, kHeads, 64}, 1).to(dtype);
      const at::Tensor found = ops::attend_paged(together.memory, 1, together.all(), projected);
      for (int64_t row = 0; row < 7; ++row)
        check_equal(ops::attend_paged(apart.memory, 1, {&apart.rows[static_cast<size_t>(row)]}, projected.narrow(0, row, 1)), found.narrow(0, row, 1), "alone");
      check_equal(found[7], at::zeros_like(found[7]), "padding");
    }
  }

  TEST_CASE("large and small scores, and numbers at the ends of float16, come out right") {
    const Scene some = scene({70}, 16, at::kHalf);
    for (const double size : {1e-7, 6e-5, 1.0, 200.0, 6e4}) {
      const at::Tensor projected = at::full({1, 3, kHeads, 16}, size, at::kHalf);
      CAPTURE(size);
      check_close(ops::attend_paged(some.memory, 1, some.all(), projected)[0], wanted(some, some.rows[0], projected[0]), size * 2e-3 + 2e-3, "attended");
    }
  }

  TEST_CASE("nothing is asked of no rows") {
    const Scene some = scene({1}, 16, at::kFloat);
    check_equal(ops::attend_paged(some.memory, 1, {}, at::ones({2, 3, kHeads, 16})), at::zeros({2, kHeads, 16}), "nothing");
  }
}
