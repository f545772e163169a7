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

namespace {

// What is no scale: [..., heads, head width * 32].
at::Tensor numbers_in(const at::Tensor& slab, int64_t head_width) { return slab.narrow(-1, 0, head_width * kPagePositions); }

// [..., heads, 32] float32
at::Tensor scales_in(const at::Tensor& slab, int64_t head_width) {
  const int64_t first = head_width * kPagePositions;
  core::require(slab.scalar_type() == at::kChar, "pages of int8");
  return slab.narrow(-1, first, slab.size(-1) - first).view(at::kFloat);
}

}  // namespace

int64_t PagedMemory::head_numbers(int64_t head_width, at::ScalarType dtype) {
  return head_width * kPagePositions + (dtype == at::kChar ? kPagePositions * static_cast<int64_t>(sizeof(float)) : 0);
}

at::Tensor PagedMemory::keys(int64_t layer, int32_t page) const {
  const at::Tensor& slab = layers[static_cast<size_t>(layer)][static_cast<size_t>(page / slab_pages)];
  return numbers_in(slab[page % slab_pages][0], head_width).view({heads, head_width, kPagePositions});
}

at::Tensor PagedMemory::values(int64_t layer, int32_t page) const {
  const at::Tensor& slab = layers[static_cast<size_t>(layer)][static_cast<size_t>(page / slab_pages)];
  return numbers_in(slab[page % slab_pages][1], head_width).view({heads, kPagePositions, head_width});
}

at::Tensor PagedMemory::scales(int64_t layer, int32_t page, int64_t side) const {
  const at::Tensor& slab = layers[static_cast<size_t>(layer)][static_cast<size_t>(page / slab_pages)];
  return scales_in(slab[page % slab_pages][side], head_width);
}

QuantizedVectors quantize_vectors(const at::Tensor& x) {
  const at::Tensor wide = x.to(at::kFloat), scales = wide.abs().amax(-1).div(127);
  // 0 / 0, and what is divided by infinity or is none, is 0.
  return {wide.div(scales.unsqueeze(-1)).round().clamp(-127, 127).nan_to_num(0).to(at::kChar), scales};
}

at::Tensor attend_paged(const PagedMemory& memory, int64_t layer, const PagedRows& rows, const at::Tensor& projected) {
  for (const PagedRow* row : rows.all())
    core::require(static_cast<int64_t>(row->pages.size()) * kPagePositions > row->length, "a page with room for the next position");
  return projected.is_cpu() ? attend_paged_cpu(memory, layer, rows.all(), projected) : attend_paged_plain(memory, layer, rows, projected);
}

namespace {

// Keys or values in all pages.
struct Side {
  at::Tensor numbers;  // [pages, heads, head width, 32] of keys, [pages, heads, 32, head width] of values
  at::Tensor scales;   // [pages, heads, 32] of int8, else undefined
  bool columns;        // a position is a column: keys

  static Side of(const at::Tensor& slab, int64_t side, const PagedMemory& memory) {
    const bool columns = side == 0;
    const at::Tensor numbers = numbers_in(slab, memory.head_width).select(1, side);
    return {columns ? numbers.view({-1, memory.heads, memory.head_width, kPagePositions}) : numbers.view({-1, memory.heads, kPagePositions, memory.head_width}),
            slab.scalar_type() == at::kChar ? scales_in(slab, memory.head_width).select(1, side) : at::Tensor(), columns};
  }

  // vectors [rows, heads, head width] of the new position of each row.
  void put(const PagedRows::Layout& layout, at::Tensor vectors) const {
    if (scales.defined()) {
      const QuantizedVectors quantized = quantize_vectors(vectors);
      scales.index_put_({layout.last_pages, {}, layout.places}, quantized.scales);
      vectors = quantized.numbers;
    }
    vectors = vectors.to(numbers.scalar_type());
    if (columns) numbers.index_put_({layout.last_pages, {}, {}, layout.places}, vectors);
    else numbers.index_put_({layout.last_pages, {}, layout.places}, vectors);
  }

  // -> [rows, heads, most pages * 32, head width]; what is foreign is 0.
  at::Tensor gather(const PagedRows::Layout& layout, at::ScalarType dtype) const {
    at::Tensor all = numbers.index_select(0, layout.pages).to(dtype);
    if (columns) all = all.transpose(2, 3);
    if (scales.defined()) all = all * scales.index_select(0, layout.pages).unsqueeze(-1);
    const int64_t rows = layout.last_pages.size(0), heads = all.size(1), width = all.size(3);
    return all.view({rows, layout.most, heads, kPagePositions, width}).transpose(1, 2).reshape({rows, heads, -1, width}).masked_fill(layout.foreign, 0);
  }
};

}  // namespace

at::Tensor attend_paged_plain(const PagedMemory& memory, int64_t layer, const PagedRows& rows, const at::Tensor& projected) {
  const std::vector<at::Tensor>& slabs = memory.layers[static_cast<size_t>(layer)];
  core::require(slabs.size() == 1, "pages of one slab");
  const int64_t count = static_cast<int64_t>(rows.all().size());
  at::Tensor result = at::zeros({projected.size(0), memory.heads, memory.head_width}, projected.options());
  if (count == 0) return result;
  const Side keys = Side::of(slabs[0], 0, memory), values = Side::of(slabs[0], 1, memory);
  const PagedRows::Layout& layout = rows.layout(projected.device());
  const at::Tensor fresh = projected.narrow(0, 0, count);
  keys.put(layout, fresh.select(1, 1));
  values.put(layout, fresh.select(1, 2));
  const at::ScalarType dtype = keys.scales.defined() ? at::kFloat : c10::promoteTypes(slabs[0].scalar_type(), projected.scalar_type());
  const at::Tensor attended = at::scaled_dot_product_attention(fresh.select(1, 0).unsqueeze(2).to(dtype), keys.gather(layout, dtype),
                                                               values.gather(layout, dtype), layout.own);
  result.narrow(0, 0, count).copy_(attended.squeeze(2));
  return result;
}

}  // namespace metavoice::ops
