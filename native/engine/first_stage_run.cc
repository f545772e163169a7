#include "engine/first_stage_run.h"

#include "engine/health.h"

namespace metavoice::engine {

namespace {

constexpr const char* kName = "first stage";

}  // namespace

FirstStageRun::FirstStageRun(const models::FirstStage& model, const at::Tensor& speaker, int64_t rows, int64_t capacity)
    : model_(model), rows_(rows), capacity_(capacity), conditioning_(model.conditioning(speaker, rows)) {}

FirstStageRun::~FirstStageRun() {
  for (ops::PagedRow& row : paged_) pool_->release(row);
}

at::Tensor FirstStageRun::prompt(const at::Tensor& text, layers::KvPool* pool) {
  core::require(positions() == 0, "a prompt that comes first");
  prompt_ = model_.branches(text, rows_);
  cache_.emplace(model_.make_cache(rows_, pool != nullptr ? text.size(0) : capacity_));
  const at::Tensor logits = evaluate(prompt_);
  pool_ = pool;
  if (pool_ != nullptr && fits_pages()) move_in();
  else cache_->grow(capacity_);
  return logits;
}

at::Tensor FirstStageRun::step(int64_t id) {
  core::require(positions() > 0, "a prompt before the first id");
  const bool visits = paged();
  if (visits) cache_.emplace(copy_of_pages());
  ids_.push_back(id);
  const at::Tensor logits = evaluate(at::full({rows_, 1}, id, prompt_.options()));
  if (visits && fits_pages()) take_in();
  else if (visits) leave_pages();
  return logits;
}

int64_t FirstStageRun::positions() const {
  if (paged()) return paged_[0].length;
  if (parked_) return parked_->length;
  return cache_ ? cache_->length() : 0;
}

int64_t FirstStageRun::needed_pages(int64_t steps) const {
  return paged() || parked_ ? rows_ * layers::KvPool::pages_for(positions() + steps) : 0;
}

void FirstStageRun::extend(int64_t steps) {
  for (ops::PagedRow& row : paged_) pool_->extend(row, steps);
}

void FirstStageRun::advance(int64_t id) {
  ids_.push_back(id);
  for (ops::PagedRow& row : paged_) ++row.length;
}

void FirstStageRun::seek(int64_t wanted) {
  core::require(positions() > 0 && wanted <= capacity_, "a prompt before, and room for the positions");
  const int64_t missing = wanted - positions();
  if (missing > 0) {
    const bool visits = paged();
    if (visits) cache_.emplace(copy_of_pages());
    const at::Tensor first = cache_->view(0).first;
    const at::Tensor noise = at::randn({rows_, first.size(1), missing, first.size(3)}, first.options());
    for (int64_t layer = 0; layer < cache_->layers(); ++layer) cache_->append(layer, noise, noise);
    cache_->advance(missing);
    if (visits) take_in();
  }
  for (ops::PagedRow& row : paged_) row.length = wanted;
  if (cache_) cache_->rewind(cache_->length() - wanted);
}

void FirstStageRun::park() {
  if (!paged()) return;
  Parked parked{positions(), {}};
  for (const ops::PagedRow& row : paged_) {
    std::vector<at::Tensor>& pages = parked.pages.emplace_back();
    for (int64_t layer = 0; layer < pool_->layers(); ++layer) pages.push_back(pool_->copy_out(row, layer));
  }
  parked_ = std::move(parked);
  leave_pages();
}

void FirstStageRun::unpark() {
  if (!parked_) return;
  paged_.resize(static_cast<size_t>(rows_));
  for (ops::PagedRow& row : paged_) {
    pool_->extend(row, parked_->length);
    row.length = parked_->length;
  }
  for (size_t row = 0; row < paged_.size(); ++row)
    for (size_t layer = 0; layer < parked_->pages[row].size(); ++layer)
      pool_->copy_in(paged_[row], static_cast<int64_t>(layer), parked_->pages[row][layer]);
  parked_.reset();
}

layers::KvCache FirstStageRun::copy_of_pages() const {
  const at::TensorOptions options = at::TensorOptions().device(model_.device()).dtype(model_.dtype());
  layers::KvCache cache = model_.make_cache(rows_, capacity_, options);
  for (int64_t layer = 0; layer < cache.layers(); ++layer) {
    std::vector<at::Tensor> keys, values;
    for (const ops::PagedRow& row : paged_) {
      const auto [row_keys, row_values] = pool_->read(row, layer);
      keys.push_back(row_keys.to(options));
      values.push_back(row_values.to(options));
    }
    cache.append(layer, at::stack(keys), at::stack(values));
  }
  cache.advance(positions());
  return cache;
}

// Numbers that need float32 stay outside.
bool FirstStageRun::fits_pages() const {
  if (cache_->dtype() != model_.dtype() || cache_->restarted()) return false;
  for (int64_t layer = 0; layer < cache_->layers(); ++layer) {
    const auto [keys, values] = cache_->view(layer);
    if (!pool_->holds(keys) || !pool_->holds(values)) return false;
  }
  return true;
}

void FirstStageRun::leave_pages() {
  for (ops::PagedRow& row : paged_) pool_->release(row);
  paged_.clear();
}

void FirstStageRun::move_in() {
  paged_.resize(static_cast<size_t>(rows_));
  take_in();
}

// What the cache holds behind what the pages do goes there, too.
void FirstStageRun::take_in() {
  const int64_t first = positions(), count = cache_->length() - first;
  for (ops::PagedRow& row : paged_) {
    pool_->extend(row, count);
    row.length += count;
  }
  for (int64_t layer = 0; layer < cache_->layers(); ++layer) {
    const auto [keys, values] = cache_->view(layer);
    for (int64_t row = 0; row < rows_; ++row)
      pool_->write(paged_[static_cast<size_t>(row)], layer, keys[row].narrow(1, first, count), values[row].narrow(1, first, count), first);
  }
  cache_.reset();
}

at::Tensor FirstStageRun::evaluate(const at::Tensor& ids) {
  const int64_t before = cache_->length();
  try {
    return evaluate_finite(model_.dtype(), redone_, kName, [&](models::Precision precision) {
      cache_->rewind(cache_->length() - before);
      return model_.forward(ids, conditioning_, *cache_, precision);
    });
  } catch (const core::Error& error) {
    const bool narrow = model_.dtype() != at::kFloat || (paged() && pool_->dtype() == at::kHalf);
    if (error.code() != "ERR_NUMERIC" || !narrow || before == 0) throw;
  }
  // An earlier step may have left an infinity in the cache, or in the pages it was copied from, that its own logits did not show.
  if (model_.dtype() == at::kFloat) ++redone_;
  cache_->restart_in_float32();
  return require_finite(model_.forward(everything(), conditioning_, *cache_, models::Precision::float32), kName);
}

at::Tensor FirstStageRun::everything() const {
  return at::cat({prompt_, at::tensor(ids_, prompt_.options()).view({1, -1}).expand({rows_, -1})}, 1);
}

}  // namespace metavoice::engine
