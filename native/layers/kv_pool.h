// Keys and values in pages from one pool, planned when the model is loaded: an utterance holds as many pages as it has
// said, and gives them back when it ends. Only the engine thread touches it.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "ops/paged_attention.h"

namespace metavoice::layers {

struct KvShape {
  int64_t layers;
  int64_t heads;
  int64_t head_width;
};

class KvPool {
 public:
  // Pages of float32, float16, bfloat16 or int8. On the CPU, pages that are never written are never resident.
  KvPool(const KvShape& shape, int64_t pages, const at::TensorOptions& options);

  static int64_t pages_for(int64_t positions) { return (positions + ops::kPagePositions - 1) / ops::kPagePositions; }

  int64_t layers() const { return static_cast<int64_t>(memory_.layers.size()); }
  int64_t pages() const { return pages_; }
  int64_t unused() const { return static_cast<int64_t>(unused_.size()); }
  int64_t page_bytes() const;
  at::ScalarType dtype() const { return options_.dtype().toScalarType(); }
  const ops::PagedMemory& memory() const { return memory_; }

  // Makes room for the next positions of a row; there must be as many pages unused as it needs.
  void extend(ops::PagedRow& row, int64_t positions = 1);
  // All pages of a row; it is empty afterwards.
  void release(ops::PagedRow& row);

  // Whether pages can hold such numbers without making one of them infinite.
  bool holds(const at::Tensor& numbers) const;

  // keys, values [heads, positions, head width] of one layer become the positions from `first` on of a row that has pages for
  // them.
  void write(const ops::PagedRow& row, int64_t layer, const at::Tensor& keys, const at::Tensor& values, int64_t first = 0);
  // -> keys, values [heads, length, head width] of one layer, in float32 where pages are of int8
  std::pair<at::Tensor, at::Tensor> read(const ops::PagedRow& row, int64_t layer) const;

  // The pages of one layer that hold the positions of a row, as they lie there: on the host, and back.
  at::Tensor copy_out(const ops::PagedRow& row, int64_t layer) const;
  void copy_in(const ops::PagedRow& row, int64_t layer, const at::Tensor& pages);

 private:
  std::vector<at::Tensor> pages_of(const ops::PagedRow& row, int64_t layer) const;

  int64_t pages_;
  at::TensorOptions options_;
  ops::PagedMemory memory_;
  std::vector<int32_t> unused_;  // the last one given back is the first one taken: its memory is warm
};

}  // namespace metavoice::layers
