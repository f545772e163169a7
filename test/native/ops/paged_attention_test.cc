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

// What pages hold, and what a step gives.
struct Kind {
  at::ScalarType pages;
  at::ScalarType numbers;
};
const std::vector<Kind> kKinds = {{at::kFloat, at::kFloat}, {at::kHalf, at::kHalf},  {at::kBFloat16, at::kBFloat16}, {at::kHalf, at::kFloat},
                                  {at::kChar, at::kFloat},  {at::kChar, at::kHalf}, {at::kChar, at::kBFloat16}};

struct Scene {
  PagedMemory memory;
  std::vector<PagedRow> rows;

  std::vector<const PagedRow*> all() const {
    std::vector<const PagedRow*> result;
    for (const PagedRow& row : rows) result.push_back(&row);
    return result;
  }
};

// Keys (0) or values (1) of one position: [heads, head width].
at::Tensor place_of(const PagedMemory& memory, const PagedRow& row, int64_t position, int64_t side) {
  const int32_t page = row.pages[static_cast<size_t>(position / kPagePositions)];
  const int64_t place = position % kPagePositions;
  return side == 0 ? memory.keys(1, page).select(2, place) : memory.values(1, page).select(1, place);
}

at::Tensor scales_of(const PagedMemory& memory, const PagedRow& row, int64_t position, int64_t side) {
  return memory.scales(1, row.pages[static_cast<size_t>(position / kPagePositions)], side).select(1, position % kPagePositions);
}

bool quantized(const PagedMemory& memory) { return memory.layers[1][0].scalar_type() == at::kChar; }

// Rows of these lengths over pages that lie in disorder, in slabs; what nobody wrote is NaN.
Scene scene(const std::vector<int64_t>& lengths, int64_t width, const at::TensorOptions& options, int64_t slabs = 1, uint64_t seed = 5) {
  int64_t pages = 0;
  for (const int64_t length : lengths) pages += length / kPagePositions + 1;
  Scene result;
  result.memory.heads = kHeads;
  result.memory.head_width = width;
  result.memory.slab_pages = (pages + slabs - 1) / slabs;
  std::vector<at::Tensor> memory;
  const auto dtype = options.dtype().toScalarType();
  const int64_t numbers_of_head = PagedMemory::head_numbers(width, dtype);
  // Bytes of -1 are scales that are none.
  const double poison = dtype == at::kChar ? -1 : std::numeric_limits<double>::quiet_NaN();
  for (int64_t slab = 0; slab < slabs; ++slab) memory.push_back(at::full({result.memory.slab_pages, 2, kHeads, numbers_of_head}, poison, options));
  result.memory.layers = {{}, memory};  // the second layer is asked
  Numbers numbers(seed);
  const at::Tensor order = at::randperm(pages, at::make_generator<at::CPUGeneratorImpl>(seed));
  int64_t next = 0;
  for (const int64_t length : lengths) {
    PagedRow row{{}, length};
    for (int64_t page = 0; page <= length / kPagePositions; ++page) row.pages.push_back(static_cast<int32_t>(order[next++].item<int64_t>()));
    for (int64_t position = 0; position < length; ++position) {
      for (const int64_t side : {0, 1}) {
        at::Tensor vectors = numbers.normal({kHeads, width}, 1);
        if (quantized(result.memory)) {
          const ops::QuantizedVectors found = ops::quantize_vectors(vectors);
          scales_of(result.memory, row, position, side).copy_(found.scales);
          vectors = found.numbers;
        }
        place_of(result.memory, row, position, side).copy_(vectors);
      }
    }
    result.rows.push_back(row);
  }
  return result;
}

// What a position holds, in double.
at::Tensor held(const Scene& scene, const PagedRow& row, int64_t position, int64_t side) {
  const at::Tensor numbers = place_of(scene.memory, row, position, side).cpu().to(at::kDouble);
  return quantized(scene.memory) ? numbers * scales_of(scene.memory, row, position, side).cpu().to(at::kDouble).unsqueeze(1) : numbers;
}

// The formula in double, for one row, over what its pages hold after the step.
at::Tensor wanted(const Scene& scene, const PagedRow& row, const at::Tensor& projected) {
  std::vector<at::Tensor> keys, values;
  for (int64_t position = 0; position <= row.length; ++position) {
    keys.push_back(held(scene, row, position, 0));
    values.push_back(held(scene, row, position, 1));
  }
  const at::Tensor k = at::stack(keys), v = at::stack(values);  // [positions, heads, width]
  const at::Tensor q = projected[0].cpu().to(at::kDouble);
  const at::Tensor weights = at::einsum("hw,phw->hp", {q, k}).div(std::sqrt(static_cast<double>(q.size(1)))).softmax(-1);
  return at::einsum("hp,phw->hw", {weights, v});
}

double tolerance(at::ScalarType dtype) { return dtype == at::kFloat ? 2e-6 : dtype == at::kHalf ? 2e-3 : 2e-2; }

// Both memories, bit for bit.
void check_same_memory(const Scene& one, const Scene& other) {
  check_equal(one.memory.layers[1][0].contiguous().view(at::kChar), other.memory.layers[1][0].contiguous().view(at::kChar), "memory");
}

const std::vector<int64_t> kLengths = {0, 1, 31, 32, 33, 100, 257};

}  // namespace

TEST_SUITE("ops/paged_attention") {
  TEST_CASE("refuses a row whose last page is full, and pages of another dtype") {
    Scene some = scene({32}, 16, at::kFloat);
    check_refused([&] { ops::attend_paged(some.memory, 1, some.all(), at::ones({1, 3, kHeads, 16}, at::kHalf)); }, "ERR_INTERNAL", "own dtype");
    some.rows[0].pages.pop_back();
    check_refused([&] { ops::attend_paged(some.memory, 1, some.all(), at::ones({1, 3, kHeads, 16})); }, "ERR_INTERNAL", "a page with room");
    check_refused([&] { some.memory.scales(1, 0, 0); }, "ERR_INTERNAL", "pages of int8");
  }

  TEST_CASE("is the formula, for rows of every length, head widths of every kind, in every dtype on every device") {
    for (const at::Device& device : devices()) {
      for (const auto& [pages, dtype] : kKinds) {
        for (const int64_t width : {8, 16, 40, 64, 128, 200}) {
          const Scene some = scene(kLengths, width, at::TensorOptions().device(device).dtype(pages));
          const at::Tensor projected = Numbers(6).normal({7, 3, kHeads, width}, 1).to(device, dtype);
          const at::Tensor found = ops::attend_paged(some.memory, 1, some.all(), projected);
          CHECK((found.scalar_type() == dtype));
          for (int64_t row = 0; row < 7; ++row) {
            const PagedRow& its = some.rows[static_cast<size_t>(row)];
            CAPTURE(its.length);
            CAPTURE(width);
            check_close(found[row], wanted(some, its, projected[row]), tolerance(dtype), "row");
            // What was written is the nearest that pages can hold.
            for (const int64_t side : {0, 1}) {
              const at::Tensor given = projected[row][1 + side].cpu().to(at::kFloat);
              const at::Tensor nearest = quantized(some.memory) ? ops::quantize_vectors(given).numbers * ops::quantize_vectors(given).scales.unsqueeze(1) : given.to(pages);
              check_close(held(some, its, its.length, side), nearest.to(at::kDouble), 1e-6, "written");
            }
          }
        }
      }
    }
  }

  TEST_CASE("our loops in every set of instructions agree with the plain tensor operations, and both write the same memory") {
    Numbers numbers(8);
    for (const ops::InstructionSet instructions : ops::instruction_sets()) {
      CAPTURE(static_cast<int>(instructions));
      for (const auto& [pages, dtype] : kKinds) {
        for (int round = 0; round < 4; ++round) {
          const std::vector<int64_t> lengths = numbers.list(0, 300, 5);
          const int64_t width = 8 * numbers.list(1, 20, 1)[0];
          CAPTURE(width);
          const Scene ours = scene(lengths, width, pages), plain = scene(lengths, width, pages);
          const at::Tensor projected = numbers.normal({7, 3, kHeads, width}, 1).to(dtype);
          check_close(ops::attend_paged_cpu(ours.memory, 1, ours.all(), projected, instructions),
                      ops::attend_paged_plain(plain.memory, 1, plain.all(), projected).to(at::kDouble), 2 * tolerance(dtype), "attended");
          check_same_memory(ours, plain);
        }
      }
    }
  }

  TEST_CASE("a row has the same bits alone and in company, wherever its pages lie") {
    for (const ops::InstructionSet instructions : ops::instruction_sets()) {
      for (const auto& [pages, dtype] : kKinds) {
        const Scene together = scene(kLengths, 64, pages), apart = scene(kLengths, 64, pages, 4);
        const at::Tensor projected = Numbers(6).normal({8, 3, kHeads, 64}, 1).to(dtype);
        const at::Tensor found = ops::attend_paged_cpu(together.memory, 1, together.all(), projected, instructions);
        for (int64_t row = 0; row < 7; ++row)
          check_equal(ops::attend_paged_cpu(apart.memory, 1, {&apart.rows[static_cast<size_t>(row)]}, projected.narrow(0, row, 1), instructions),
                      found.narrow(0, row, 1), "alone");
        check_equal(found[7], at::zeros_like(found[7]), "padding");
      }
    }
  }

  TEST_CASE("large and small scores, and numbers at the ends of float16, come out right") {
    for (const at::ScalarType pages : {at::kHalf, at::kChar}) {
      const Scene some = scene({70}, 16, pages);
      for (const double size : {1e-7, 6e-5, 1.0, 200.0, 6e4}) {
        const at::Tensor projected = at::full({1, 3, kHeads, 16}, size, at::kHalf);
        CAPTURE(size);
        const at::Tensor found = ops::attend_paged(some.memory, 1, some.all(), projected)[0];
        check_close(found, wanted(some, some.rows[0], projected[0]), size * 2e-3 + 2e-3, "attended");
      }
    }
  }

  TEST_CASE("a number that is not finite shows in its own row, now and later, and in no other") {
    const double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
    for (const at::Device& device : devices()) {
      for (const int64_t side : {1, 2}) {
        for (const double bad : {infinity, -infinity, nan}) {
          Scene some = scene({40, 70}, 24, at::TensorOptions().device(device).dtype(at::kChar));
          at::Tensor projected = Numbers(6).normal({2, 3, kHeads, 24}, 1).to(device);
          projected[0][side][1][20] = bad;
          for (int step = 0; step < 2; ++step) {
            const at::Tensor found = ops::attend_paged(some.memory, 1, some.all(), projected).isfinite().all(-1).to(at::kLong);
            check_equal(found, at::tensor({1, 0, 1, 1, 1, 1}, at::kLong).view({2, 3}), "finite heads");
            for (PagedRow& row : some.rows) ++row.length;
            projected = Numbers(7).normal({2, 3, kHeads, 24}, 1).to(device);
          }
        }
      }
    }
  }

  TEST_CASE("nothing is asked of no rows") {
    const Scene some = scene({1}, 16, at::kFloat);
    check_equal(ops::attend_paged(some.memory, 1, {}, at::ones({2, 3, kHeads, 16})), at::zeros({2, kHeads, 16}), "nothing");
  }
}

TEST_SUITE("ops/quantize_vectors") {
  TEST_CASE("rounds half to even, in steps of a 127th of the greatest") {
    const auto [numbers, scales] = ops::quantize_vectors(at::tensor({127.0F, 0.5F, 1.5F, 2.5F, -0.5F, -1.5F, -126.6F, 0.0F}).view({1, 8}));
    check_equal(scales, at::ones({1}), "scale");
    check_equal(numbers, at::tensor({127, 0, 2, 2, 0, -2, -127, 0}, at::kChar).view({1, 8}), "numbers");
  }

  TEST_CASE("is off by half a step at the most, in every dtype") {
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const at::Tensor x = (Numbers(4).normal({50, 40}, 1) * at::logspace(-4, 4, 50).unsqueeze(1)).to(dtype);
      const auto [numbers, scales] = ops::quantize_vectors(x);
      const at::Tensor wide = x.to(at::kDouble), steps = scales.to(at::kDouble).unsqueeze(1);
      CHECK((numbers.to(at::kDouble) * steps - wide).abs().div(steps).max().item<double>() <= 0.5001);
      check_equal(numbers.abs().amax(-1), at::full({50}, 127, at::kChar), "the greatest");
    }
  }

  TEST_CASE("zeros, numbers too small for a scale, and what is no number") {
    const float infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const auto [numbers, scales] = ops::quantize_vectors(at::tensor({0.0F, 0.0F, 1e-45F, -1e-45F, 1.0F, infinity, 1.0F, nan}).view({4, 2}));
    check_equal(scales.narrow(0, 0, 2), at::zeros({2}), "scales of nothing");
    CHECK_FALSE(scales.narrow(0, 2, 2).isfinite().any().item<bool>());
    check_equal(numbers[0], at::zeros({2}, at::kChar), "zeros");
    CHECK((numbers.to(at::kFloat) * scales.unsqueeze(1))[1].equal(at::zeros({2})));
  }
}
