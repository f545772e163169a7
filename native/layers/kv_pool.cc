#include "layers/kv_pool.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"

namespace metavoice::layers {

namespace {

// The plain attention of a GPU wants one slab; a host gets none that is larger than a gibibyte.
constexpr int64_t kLargestHostSlab = int64_t{1} << 30;

// Keys (0) or values (1) of a page, position by position: [heads, 32, head width].
at::Tensor positions_of(const ops::PagedMemory& memory, int64_t layer, int32_t page, int64_t side) {
  return side == 0 ? memory.keys(layer, page).transpose(1, 2) : memory.values(layer, page);
}

}  // namespace

KvPool::KvPool(const KvShape& shape, int64_t pages, const at::TensorOptions& options) : pages_(pages), options_(options) {
  const int64_t numbers = ops::PagedMemory::head_numbers(shape.head_width, dtype());
  const int64_t bytes = 2 * shape.heads * numbers * static_cast<int64_t>(options.dtype().itemsize());
  const bool host = options.device().is_cpu();
  memory_.heads = shape.heads;
  memory_.head_width = shape.head_width;
  memory_.slab_pages = std::max<int64_t>(1, host ? std::min(pages, kLargestHostSlab / bytes) : pages);
  memory_.layers.resize(static_cast<size_t>(shape.layers));
  for (std::vector<at::Tensor>& slabs : memory_.layers)
    for (int64_t left = pages; left > 0; left -= memory_.slab_pages)
      slabs.push_back(at::empty({std::min(left, memory_.slab_pages), 2, shape.heads, numbers}, options));
  unused_.resize(static_cast<size_t>(pages));
  std::iota(unused_.rbegin(), unused_.rend(), 0);
}

int64_t KvPool::page_bytes() const {
  const int64_t numbers = ops::PagedMemory::head_numbers(memory_.head_width, dtype());
  return layers() * 2 * memory_.heads * numbers * static_cast<int64_t>(options_.dtype().itemsize());
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

bool KvPool::holds(const at::Tensor& numbers) const {
  constexpr float kLargestHalf = 65504.0F;
  if (dtype() != at::kHalf || numbers.scalar_type() == at::kHalf || numbers.numel() == 0) return true;
  return numbers.abs().max().item<float>() <= kLargestHalf;
}

void KvPool::write(const ops::PagedRow& row, int64_t layer, const at::Tensor& keys, const at::Tensor& values, int64_t first) {
  const int64_t end = first + keys.size(1);
  core::require(static_cast<int64_t>(row.pages.size()) >= pages_for(end), "pages for the positions");
  const bool quantized = dtype() == at::kChar;
  const at::Tensor sides[] = {keys, values};
  for (const int64_t side : {0, 1}) {
    at::Tensor numbers = sides[side], scales;
    if (quantized) {
      ops::QuantizedVectors found = ops::quantize_vectors(numbers);
      numbers = std::move(found.numbers);
      scales = std::move(found.scales);
    }
    for (int64_t position = first; position < end;) {
      const int64_t place = position % ops::kPagePositions, count = std::min(ops::kPagePositions - place, end - position);
      const int32_t page = row.pages[static_cast<size_t>(position / ops::kPagePositions)];
      positions_of(memory_, layer, page, side).narrow(1, place, count).copy_(numbers.narrow(1, position - first, count));
      if (quantized) memory_.scales(layer, page, side).narrow(1, place, count).copy_(scales.narrow(1, position - first, count));
      position += count;
    }
  }
}

std::pair<at::Tensor, at::Tensor> KvPool::read(const ops::PagedRow& row, int64_t layer) const {
  const bool quantized = dtype() == at::kChar;
  at::Tensor sides[2];
  for (const int64_t side : {0, 1}) {
    at::Tensor& numbers = sides[side];
    numbers = at::empty({memory_.heads, row.length, memory_.head_width}, options_);
    const at::Tensor scales = quantized ? at::empty({memory_.heads, row.length, 1}, options_.dtype(at::kFloat)) : at::Tensor();
    for (int64_t first = 0; first < row.length; first += ops::kPagePositions) {
      const int64_t count = std::min(ops::kPagePositions, row.length - first);
      const int32_t page = row.pages[static_cast<size_t>(first / ops::kPagePositions)];
      numbers.narrow(1, first, count).copy_(positions_of(memory_, layer, page, side).narrow(1, 0, count));
      if (quantized) scales.narrow(1, first, count).copy_(memory_.scales(layer, page, side).narrow(1, 0, count).unsqueeze(2));
    }
    if (quantized) numbers = numbers * scales;
  }
  return {sides[0], sides[1]};
}

std::vector<at::Tensor> KvPool::pages_of(const ops::PagedRow& row, int64_t layer) const {
  std::vector<at::Tensor> result;
  for (int64_t index = 0; index < pages_for(row.length); ++index) {
    const int32_t page = row.pages[static_cast<size_t>(index)];
    result.push_back(memory_.layers[static_cast<size_t>(layer)][static_cast<size_t>(page / memory_.slab_pages)][page % memory_.slab_pages]);
  }
  return result;
}

at::Tensor KvPool::copy_out(const ops::PagedRow& row, int64_t layer) const { return at::stack(pages_of(row, layer)).to(at::kCPU); }

void KvPool::copy_in(const ops::PagedRow& row, int64_t layer, const at::Tensor& pages) {
  const std::vector<at::Tensor> places = pages_of(row, layer);
  core::require(static_cast<int64_t>(places.size()) == pages.size(0), "as many pages as were copied out");
  for (size_t index = 0; index < places.size(); ++index) places[index].copy_(pages[static_cast<int64_t>(index)]);
}

}  // namespace metavoice::layers
