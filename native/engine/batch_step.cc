#include "engine/batch_step.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace metavoice::engine {

at::Tensor step_rows(const models::FirstStage& model, const layers::KvPool& pool, const std::vector<Fed>& fed, int64_t padded) {
  std::vector<const ops::PagedRow*> rows;
  std::vector<int64_t> inputs(static_cast<size_t>(2 * padded));  // ids, then positions
  std::vector<at::Tensor> conditioning;
  for (const auto& [run, id] : fed) {
    for (const ops::PagedRow& row : run->paged_rows()) {
      inputs[rows.size()] = id;
      inputs[static_cast<size_t>(padded) + rows.size()] = row.length;
      rows.push_back(&row);
    }
    conditioning.push_back(run->conditioning().squeeze(1));
  }
  const auto count = static_cast<int64_t>(rows.size());
  if (padded > count) conditioning.push_back(at::zeros({padded - count, model.width()}, conditioning[0].options()));
  const at::Tensor placed = at::tensor(inputs).view({2, padded});
  const at::Tensor logits = model.step(placed[0], placed[1], at::cat(conditioning), pool.memory(), rows);
  return logits.narrow(0, 0, count).to(at::kCPU).contiguous();
}

BatchStep::Failures BatchStep::run(const std::vector<CoarseDecoder*>& decoders, int64_t steps) {
  core::require(steps <= most_steps(), "steps that go in one launch");
  Failures failures;
  const auto rows_of = [](const CoarseDecoder* decoder) { return static_cast<int64_t>(decoder->run().paged_rows().size()); };
  auto next = decoders.begin();
  while (next != decoders.end()) {
    int64_t rows = 0;
    for (auto each = next; each != decoders.end(); ++each) rows += rows_of(*each);
    const RowCounts::Count count = counts_.next(rows);
    // As many as go together, whole ones; one always does.
    auto last = next;
    rows = 0;
    do rows += rows_of(*last++);
    while (last != decoders.end() && rows + rows_of(*last) <= count.rows);
    const int64_t padded = std::max(count.padded, rows);
    if (drawn_steps_ > 0) draw_together({next, last}, padded, steps, failures);
    else run_together({next, last}, padded, failures);
    next = last;
  }
  return failures;
}

void BatchStep::run_together(const std::vector<CoarseDecoder*>& decoders, int64_t padded, Failures& failures) {
  std::vector<Fed> fed;
  for (const CoarseDecoder* decoder : decoders) fed.push_back({&decoder->run(), decoder->last_id()});
  const at::Tensor host = step_rows(model_, pool_, fed, padded);

  const float* values = host.data_ptr<float>();
  const int64_t vocabulary = host.size(1);
  for (CoarseDecoder* decoder : decoders) {
    const int64_t numbers = static_cast<int64_t>(decoder->run().paged_rows().size()) * vocabulary;
    try {
      if (std::all_of(values, values + numbers, [](float value) { return std::isfinite(value); })) decoder->take_step(values, vocabulary);
      else decoder->step();
    } catch (...) {
      failures.emplace_back(decoder, std::current_exception());
    }
    values += numbers;
  }
}

void BatchStep::draw_together(const std::vector<CoarseDecoder*>& decoders, int64_t padded, int64_t steps, Failures& failures) {
  std::vector<models::Drawing> drawings;
  for (const CoarseDecoder* decoder : decoders) drawings.push_back(decoder->drawing());
  const std::vector<models::Drawn> drawn = model_.draw(drawings, padded, steps, pool_.memory());
  for (size_t i = 0; i < decoders.size(); ++i) {
    try {
      for (const int64_t id : drawn[i].ids) decoders[i]->take_step(id);
      if (!drawn[i].finite) decoders[i]->step();
    } catch (...) {
      failures.emplace_back(decoders[i], std::current_exception());
    }
  }
}

}  // namespace metavoice::engine
