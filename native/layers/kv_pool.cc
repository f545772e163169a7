#include "layers/kv_pool.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace metavoice::layers {

namespace {

// The plain attention of a GPU wants one slab; a host gets none that is larger than a gibibyte.
constexpr int64_t kLargestHostSlab = int64_t{1} << 30;

}  // namespace

KvPool::KvPool(const KvShape& shape, int64_t pages, const at::TensorOptions& options) : pages_(pages), options_(options) {
  const int64_t numbers = shape.heads * shape.head_width * ops::kPagePositions;
  const int64_t bytes = 2 * numbers * static_cast<int64_t>(options.dtype().itemsize());
  const bool host = options.device().is_cpu();
  memory_.heads = shape.heads;
  memory_.head_width = shape.head_width;
  memory_.slab_pages = std::max<int64_t>(1, host ? std::min(pages, kLargestHostSlab / bytes) : pages);
  memory_.layers.resize(static_cast<size_t>(shape.layers));
  for (std::vector<at::Tensor>& slabs : memory_.layers)
    for (int64_t left = pages; left > 0; left -= memory_.slab_pages)
      slabs.push_back(at::empty({std::min(left, memory_.slab_pages), 2, shape.heads, shape.head_width * ops::kPagePositions}, options));
  unused_.resize(static_cast<size_t>(pages));
  std::iota(unused_.rbegin(), unused_.rend(), 0);
}

int64_t KvPool::page_bytes() const {
  const auto layers = static_cast<int64_t>(memory_.layers.size());
  return layers * 2 * memory_.heads * memory_.head_width * ops::kPagePositions * static_cast<int64_t>(options_.dtype().itemsize());
}

void KvPool::extend(ops::PagedRow& row, int64_t positions) {
  while (pages_for(row.length + positions) > static_cast<int64_t>(row.pages.size())) {
    core::require(!unused_.empty(), "a page of the key-value pool that nobody has");
    row.pages.push_back(unused_.back());
    unused_.pop_back();
  }
}

void KvPool::release(ops::PagedRow& row) {
  unused_.insert(unused_.end(), row.pages.rbegin(), row.pages.rend());
  row = {};
}

void KvPool::write(const ops::PagedRow& row, int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
  const int64_t positions = keys.size(1);
  core::require(static_cast<int64_t>(row.pages.size()) >= pages_for(positions), "pages for the positions");
  for (int64_t first = 0; first < positions; first += ops::kPagePositions) {
    const int64_t count = std::min(ops::kPagePositions, positions - first);
    const int32_t page = row.pages[static_cast<size_t>(first / ops::kPagePositions)];
    memory_.keys(layer, page).narrow(2, 0, count).copy_(keys.narrow(1, first, count).transpose(1, 2));
    memory_.values(layer, page).narrow(1, 0, count).copy_(values.narrow(1, first, count));
  }
}

std::pair<at::Tensor, at::Tensor> KvPool::read(const ops::PagedRow& row, int64_t layer) const {
  const at::Tensor keys = at::empty({memory_.heads, row.length, memory_.head_width}, options_), values = at::empty_like(keys);
  for (int64_t first = 0; first < row.length; first += ops::kPagePositions) {
    const int64_t count = std::min(ops::kPagePositions, row.length - first);
    const int32_t page = row.pages[static_cast<size_t>(first / ops::kPagePositions)];
    keys.narrow(1, first, count).copy_(memory_.keys(layer, page).narrow(2, 0, count).transpose(1, 2));
    values.narrow(1, first, count).copy_(memory_.values(layer, page).narrow(1, 0, count));
  }
  return {keys, values};
}

}  // namespace metavoice::layers
