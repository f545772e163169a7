// One step of causal attention over keys and values that lie in pages (Kwon et al., "Efficient memory management for
// large language model serving with PagedAttention", 2023): many rows of any length at once, each by itself, so that a
// row's result does not depend on its company.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <utility>
#include <vector>

#include "ops/instruction_set.h"

namespace metavoice::ops {

// Positions of a page.
constexpr int64_t kPagePositions = 32;

// Pages of all layers. A slab of one layer is [pages, 2, heads, head width · 32]: of each head first its keys
// [head width, 32], one column a position, so that a product with a query runs over 32 positions side by side, then its
// values [32, head width]. In int8 a key, and a value, is `head width` of 255 even steps around 0, and behind those of a
// head lie its 32 scales, float32: [pages, 2, heads, head width · 32 + 128] bytes.
struct PagedMemory {
  int64_t heads = 0;
  int64_t head_width = 0;
  int64_t slab_pages = 0;                       // pages of one slab
  std::vector<std::vector<at::Tensor>> layers;  // [layer][slab]

  at::Tensor keys(int64_t layer, int32_t page) const;    // [heads, head width, 32]
  at::Tensor values(int64_t layer, int32_t page) const;  // [heads, 32, head width]
  // Of keys (0) or values (1) in int8: [heads, 32] float32.
  at::Tensor scales(int64_t layer, int32_t page, int64_t side) const;

  // Elements of a slab that the keys, or the values, of one head take in a page.
  static int64_t head_numbers(int64_t head_width, at::ScalarType dtype);
};

// Vectors as steps of their greatest number: x [..., width] -> numbers int8 of the same shape, scales [...] float32 = greatest
// / 127, so that x is about numbers · scale, rounded half to even. A vector with a number that is not finite has a scale that
// is not: it stays visible. Zeros have scale 0.
struct QuantizedVectors {
  at::Tensor numbers;
  at::Tensor scales;
};
QuantizedVectors quantize_vectors(const at::Tensor& x);

// What one row has said so far.
struct PagedRow {
  std::vector<int32_t> pages;
  int64_t length = 0;  // positions that are there
};

// Rows that take a step together.
class PagedRows {
 public:
  PagedRows(std::vector<const PagedRow*> rows) : rows_(std::move(rows)) {}
  PagedRows(std::initializer_list<const PagedRow*> rows) : rows_(rows) {}

  const std::vector<const PagedRow*>& all() const { return rows_; }

  // Where the pages of the rows lie, as a device wants to know it. Rows of different length are filled up with page 0, and
  // what does not belong to them is masked.
  struct Layout {
    at::Tensor pages;       // [rows * most pages]
    at::Tensor last_pages;  // [rows]: of the new position
    at::Tensor places;      // [rows]: in that page
    at::Tensor foreign;     // [rows, 1, most pages * 32, 1]: positions that hold nothing of the row, perhaps no numbers
    at::Tensor own;         // [rows, 1, 1, most pages * 32]: the others
    int64_t most = 0;       // pages
  };
  // Told once for all layers of a step: each way to a GPU waits until it has done what it was given before.
  const Layout& layout(const at::Device& device) const;

 private:
  std::vector<const PagedRow*> rows_;
  mutable std::optional<Layout> layout_;
};

// projected [rows or more, 3, heads, head width]: query, key and value of one new position per row. Writes the keys and
// values behind those of each row, whose last page has room, and attends to all of them. Pages may have another dtype than
// `projected`: int8 with any, float16 with float32. `length` stays as it is. Rows of
// `projected` beyond those given are padding and get zeros. -> [rows of `projected`, heads, head width]
at::Tensor attend_paged(const PagedMemory& memory, int64_t layer, const PagedRows& rows, const at::Tensor& projected);

// The same by plain tensor operations, on any device.
at::Tensor attend_paged_plain(const PagedMemory& memory, int64_t layer, const PagedRows& rows, const at::Tensor& projected);
// The same by our own loops.
at::Tensor attend_paged_cpu(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected,
                            InstructionSet instructions = instruction_sets().back());

}  // namespace metavoice::ops
