#include "engine/row_counts.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <vector>

namespace metavoice::engine {

namespace {

// 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, …: at most a third is padding, and few sizes are to be tried.
int64_t next_size(int64_t rows) {
  if (rows <= 2) return 2;
  if (rows <= 16) return (rows + kFewestRows - 1) / kFewestRows * kFewestRows;
  int64_t power = 16;
  while (2 * power < rows) power *= 2;
  return rows <= power + power / 2 ? power + power / 2 : 2 * power;
}

}  // namespace

RowCounts::RowCounts(int64_t most_rows, std::function<bool(int64_t rows)> same, Sizes sizes)
    : most_rows_(next_size(std::max(most_rows, kFewestRows))), sizes_(sizes), same_(std::move(same)) {}

RowCounts RowCounts::of(const models::FirstStage& model, int64_t most_rows, bool deterministic) {
  if (model.device().is_cpu()) return {most_rows, [&model](int64_t rows) { return same_bits(model, rows); }, Sizes::all};
  if (model.has_kernels()) return {std::min(most_rows, models::DecodeRunner::kMostRows), [](int64_t) { return true; }};
  // On libtorch's GPU bits are promised for one size alone, and only where they are asked for.
  const int64_t only = next_size(std::max(most_rows, kFewestRows));
  return {most_rows, [deterministic, only](int64_t rows) { return !deterministic || rows == only; }};
}

RowCounts::Count RowCounts::next(int64_t rows) {
  if (sizes_ == Sizes::all && rows <= most_rows_ && safe(rows)) return {rows, rows};
  for (int64_t size = next_size(rows); size <= most_rows_; size = next_size(size + 1))
    if (safe(size)) return {rows, size};
  // No size holds them all.
  for (int64_t size = std::min(next_size(rows), most_rows_); size > kFewestRows; size -= kFewestRows)
    if (size == next_size(size) && size <= rows && safe(size)) return {size, size};
  return {std::min(rows, kFewestRows), kFewestRows};
}

bool RowCounts::safe(int64_t rows) {
  const auto found = known_.find(rows);
  if (found != known_.end()) return found->second;
  return known_[rows] = same_(rows);
}

bool same_bits(const models::FirstStage& model, int64_t rows) {
  const at::Tensor residual = at::randn({std::max(rows, kFewestRows), model.width()}, at::make_generator<at::CPUGeneratorImpl>(uint64_t{7}), at::kFloat);
  const auto sums = [&](const at::Tensor& part) {
    layers::KvPool pool = model.make_probe_pool(part.size(0));
    std::vector<ops::PagedRow> empty(static_cast<size_t>(part.size(0)));
    std::vector<const ops::PagedRow*> all;
    for (ops::PagedRow& row : empty) {
      pool.extend(row);
      all.push_back(&row);
    }
    return model.probe(part, pool.memory(), all);
  };
  if (rows < kFewestRows) {
    const at::Tensor part = residual.narrow(0, 0, rows), wanted = sums(residual).narrow(0, 0, rows);
    return at::equal(sums(part), wanted) && at::equal(sums(part.flip(0)).flip(0), wanted);
  }
  const at::Tensor together = sums(residual);
  for (int64_t first = 0; first < rows; first += kFewestRows) {
    // Turned round, too: the place within the four must not matter either.
    const int64_t count = std::min(kFewestRows, rows - first);
    const at::Tensor part = residual.narrow(0, first, count), wanted = together.narrow(0, first, count);
    if (!at::equal(sums(part), wanted) || !at::equal(sums(part.flip(0)).flip(0), wanted)) return false;
  }
  return true;
}

}  // namespace metavoice::engine
