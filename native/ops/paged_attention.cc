#include "ops/paged_attention.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::ops {

namespace {

// Where the pages of the rows lie, as the device wants to know it. Rows of different length are filled up with page 0,
// and what does not belong to them is masked.
struct Layout {
  at::Tensor pages;       // [rows * most pages]
  at::Tensor foreign;     // [rows, 1, most pages * 32, 1]: positions that hold nothing of the row, perhaps no numbers
  at::Tensor last_pages;  // [rows]: of the new position
  at::Tensor places;      // [rows]: in that page
  int64_t most = 0;       // pages
};

Layout layout_of(const std::vector<const PagedRow*>& rows, const at::TensorOptions& options) {
  const auto count = static_cast<int64_t>(rows.size());
  Layout layout;
  for (const PagedRow* row : rows) layout.most = std::max(layout.most, row->length / kPagePositions + 1);
  std::vector<int64_t> pages, last, places;
  const at::Tensor foreign = at::ones({count, layout.most * kPagePositions}, at::kBool);
  for (int64_t i = 0; i < count; ++i) {
    const PagedRow& row = *rows[static_cast<size_t>(i)];
    const auto used = static_cast<size_t>(row.length / kPagePositions + 1);
    for (size_t page = 0; page < static_cast<size_t>(layout.most); ++page) pages.push_back(page < used ? row.pages[page] : 0);
    last.push_back(row.pages[used - 1]);
    places.push_back(row.length % kPagePositions);
    foreign[i].narrow(0, 0, row.length + 1).zero_();
  }
  const at::TensorOptions index = at::TensorOptions().device(options.device()).dtype(at::kLong);
  layout.pages = at::tensor(pages).to(index);
  layout.last_pages = at::tensor(last).to(index);
  layout.places = at::tensor(places).to(index);
  layout.foreign = foreign.view({count, 1, -1, 1}).to(options.device());
  return layout;
}

}  // namespace

at::Tensor PagedMemory::keys(int64_t layer, int32_t page) const {
  const at::Tensor& slab = layers[static_cast<size_t>(layer)][static_cast<size_t>(page / slab_pages)];
  return slab[page % slab_pages][0].view({heads, head_width, kPagePositions});
}

at::Tensor PagedMemory::values(int64_t layer, int32_t page) const {
  const at::Tensor& slab = layers[static_cast<size_t>(layer)][static_cast<size_t>(page / slab_pages)];
  return slab[page % slab_pages][1].view({heads, kPagePositions, head_width});
}

at::Tensor attend_paged(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected) {
  for (const PagedRow* row : rows)
    core::require(static_cast<int64_t>(row->pages.size()) * kPagePositions > row->length, "a page with room for the next position");
  return projected.is_cpu() ? attend_paged_cpu(memory, layer, rows, projected) : attend_paged_plain(memory, layer, rows, projected);
}

at::Tensor attend_paged_plain(const PagedMemory& memory, int64_t layer, const std::vector<const PagedRow*>& rows, const at::Tensor& projected) {
  const std::vector<at::Tensor>& slabs = memory.layers[static_cast<size_t>(layer)];
  core::require(slabs.size() == 1, "pages of one slab");
  const int64_t heads = memory.heads, width = memory.head_width, count = static_cast<int64_t>(rows.size());
  at::Tensor result = at::zeros({projected.size(0), heads, width}, projected.options());
  if (count == 0) return result;
  const at::Tensor keys = slabs[0].select(1, 0).view({-1, heads, width, kPagePositions});
  const at::Tensor values = slabs[0].select(1, 1).view({-1, heads, kPagePositions, width});
  const Layout layout = layout_of(rows, projected.options());
  const at::Tensor fresh = projected.narrow(0, 0, count);
  keys.index_put_({layout.last_pages, {}, {}, layout.places}, fresh.select(1, 1));
  values.index_put_({layout.last_pages, {}, layout.places}, fresh.select(1, 2));
  // [rows, heads, most pages * 32, head width]
  const auto gathered = [&](const at::Tensor& side, at::IntArrayRef order) {
    const at::Tensor all = side.index_select(0, layout.pages).view({count, layout.most, heads, side.size(2), side.size(3)});
    return all.permute(order).reshape({count, heads, -1, width}).masked_fill(layout.foreign, 0);
  };
  const at::Tensor attended = at::scaled_dot_product_attention(fresh.select(1, 0).unsqueeze(2), gathered(keys, {0, 2, 1, 4, 3}),
                                                               gathered(values, {0, 2, 1, 3, 4}), layout.foreign.logical_not().transpose(2, 3));
  result.narrow(0, 0, count).copy_(attended.squeeze(2));
  return result;
}

}  // namespace metavoice::ops
