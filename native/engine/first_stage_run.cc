#include "engine/first_stage_run.h"

#include "engine/health.h"

namespace metavoice::engine {

namespace {

constexpr const char* kName = "first stage";

}  // namespace

FirstStageRun::FirstStageRun(const models::FirstStage& model, const at::Tensor& speaker, int64_t rows, int64_t capacity)
    : model_(model), rows_(rows), cache_(model.make_cache(rows, capacity)), conditioning_(model.conditioning(speaker, rows)) {}

at::Tensor FirstStageRun::prompt(const at::Tensor& text) {
  core::require(positions() == 0, "a prompt that comes first");
  prompt_ = model_.branches(text, rows_);
  return evaluate(prompt_);
}

at::Tensor FirstStageRun::step(int64_t id) {
  core::require(positions() > 0, "a prompt before the first id");
  ids_.push_back(id);
  return evaluate(at::full({rows_, 1}, id, prompt_.options()));
}

at::Tensor FirstStageRun::evaluate(const at::Tensor& ids) {
  const int64_t before = cache_.length();
  try {
    return evaluate_finite(model_.dtype(), redone_, kName, [&](models::Precision precision) {
      cache_.rewind(cache_.length() - before);
      return model_.forward(ids, conditioning_, cache_, precision);
    });
  } catch (const core::Error& error) {
    if (error.code() != "ERR_NUMERIC" || model_.dtype() == at::kFloat || before == 0) throw;
  }
  // An earlier step may have left an infinity in the cache that its own logits did not show.
  cache_.restart_in_float32();
  return require_finite(model_.forward(everything(), conditioning_, cache_, models::Precision::float32), kName);
}

at::Tensor FirstStageRun::everything() const {
  return at::cat({prompt_, at::tensor(ids_, prompt_.options()).view({1, -1}).expand({rows_, -1})}, 1);
}

}  // namespace metavoice::engine
