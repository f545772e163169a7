// One step of causal attention over keys and values that lie in pages (Kwon et al., "Efficient memory management for
// large language model serving with PagedAttention", 2023): many rows of any length at once, each by itself, so that a
// row's result does not depend on its company.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace metavoice::ops {

// Positions of a page.
constexpr int64_t kPagePositions = 32;

// Pages of all layers. A slab of one layer is [pages, 2, heads, head width · 32]: of each head first its keys
// [head width, 32], one column a position, so that a product with a query runs over 32 positions side by side, then its
// values [32, head width].
struct PagedMemory {
  int64_t heads = 0;
  int64_t head_width = 0;
  int64_t slab_pages = 0;                       // pages of one slab
  std::vector<std::vector<at::Tensor>> layers;  // [layer][slab]

  at::Tensor keys(int64_t layer, int32_t page) const;    // [heads, head width, 32]
  at::Tensor values(int64_t layer, int32_t page) const;  // [heads, 32, head width]
};

// What one row has said so far.
struct PagedRow {
  std::vector<int32_t> pages;
  int64_t length = 0;  // positions that are there
};

// projected [rows or more, 3, heads, head width]: query, key and value of one new position per row. Writes the keys and
// values behind those of each row, whose last page has room, and attends to all of them. `length` stays as it is. Rows of
// `projected` beyond those given are padding and get zeros. -> [rows of `projected`, heads, head width]
at::Tensor attend_paged(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected);

// The same by plain tensor operations, on any device.
at::Tensor attend_paged_plain(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected);
// The same by our own loops.
at::Tensor attend_paged_cpu(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected);

}  // namespace metavoice::ops
