#include "ops/paged_attention.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::ops {

const PagedRows::Layout& PagedRows::layout(const at::Device& device) const {
  if (layout_ && layout_->pages.device() == device) return *layout_;
  const auto count = static_cast<int64_t>(rows_.size());
  int64_t most = 0;
  for (const PagedRow* row : rows_) most = std::max(most, row->length / kPagePositions + 1);
  std::vector<int64_t> numbers(static_cast<size_t>(count * (most + 2)));
  int64_t *pages = numbers.data(), *last = pages + count * most, *places = last + count;
  const at::Tensor foreign = at::ones({count, most * kPagePositions}, at::kBool);
  for (int64_t i = 0; i < count; ++i) {
    const PagedRow& row = *rows_[static_cast<size_t>(i)];
    const int64_t used = row.length / kPagePositions + 1;
    std::copy(row.pages.begin(), row.pages.begin() + used, pages + i * most);
    last[i] = row.pages[static_cast<size_t>(used - 1)];
    places[i] = row.length % kPagePositions;
    foreign[i].narrow(0, 0, row.length + 1).zero_();
  }
  const at::Tensor placed = at::tensor(numbers).to(device);
  Layout& layout = layout_.emplace();
  layout.pages = placed.narrow(0, 0, count * most);
  layout.last_pages = placed.narrow(0, count * most, count);
  layout.places = placed.narrow(0, count * (most + 1), count);
  layout.foreign = foreign.view({count, 1, -1, 1}).to(device);
  layout.own = layout.foreign.logical_not().transpose(2, 3);
  layout.most = most;
  return layout;
}

at::Tensor PagedMemory::keys(int64_t layer, int32_t page) const {
  const at::Tensor& slab = layers[static_cast<size_t>(layer)][static_cast<size_t>(page / slab_pages)];
  return slab[page % slab_pages][0].view({heads, head_width, kPagePositions});
}

at::Tensor PagedMemory::values(int64_t layer, int32_t page) const {
  const at::Tensor& slab = layers[static_cast<size_t>(layer)][static_cast<size_t>(page / slab_pages)];
  return slab[page % slab_pages][1].view({heads, kPagePositions, head_width});
}

at::Tensor attend_paged(const PagedMemory& memory, int64_t layer, const PagedRows& rows, const at::Tensor& projected) {
  for (const PagedRow* row : rows.all())
    core::require(static_cast<int64_t>(row->pages.size()) * kPagePositions > row->length, "a page with room for the next position");
  return projected.is_cpu() ? attend_paged_cpu(memory, layer, rows.all(), projected) : attend_paged_plain(memory, layer, rows, projected);
}

at::Tensor attend_paged_plain(const PagedMemory& memory, int64_t layer, const PagedRows& rows, const at::Tensor& projected) {
  const std::vector<at::Tensor>& slabs = memory.layers[static_cast<size_t>(layer)];
  core::require(slabs.size() == 1, "pages of one slab");
  const int64_t heads = memory.heads, width = memory.head_width, count = static_cast<int64_t>(rows.all().size());
  at::Tensor result = at::zeros({projected.size(0), heads, width}, projected.options());
  if (count == 0) return result;
  const at::Tensor keys = slabs[0].select(1, 0).view({-1, heads, width, kPagePositions});
  const at::Tensor values = slabs[0].select(1, 1).view({-1, heads, kPagePositions, width});
  const PagedRows::Layout& layout = rows.layout(projected.device());
  const at::Tensor fresh = projected.narrow(0, 0, count);
  keys.index_put_({layout.last_pages, {}, {}, layout.places}, fresh.select(1, 1));
  values.index_put_({layout.last_pages, {}, layout.places}, fresh.select(1, 2));
  // [rows, heads, most pages * 32, head width]
  const auto gathered = [&](const at::Tensor& side, at::IntArrayRef order) {
    const at::Tensor all = side.index_select(0, layout.pages).view({count, layout.most, heads, side.size(2), side.size(3)});
    return all.permute(order).reshape({count, heads, -1, width}).masked_fill(layout.foreign, 0);
  };
  const at::Tensor attended = at::scaled_dot_product_attention(fresh.select(1, 0).unsqueeze(2), gathered(keys, {0, 2, 1, 4, 3}),
                                                               gathered(values, {0, 2, 1, 3, 4}), layout.own);
  result.narrow(0, 0, count).copy_(attended.squeeze(2));
  return result;
}

}  // namespace metavoice::ops
