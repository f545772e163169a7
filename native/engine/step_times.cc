#include "engine/step_times.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "engine/batch_step.h"
#include "ops/libtorch_only.h"

namespace metavoice::engine {

namespace {

constexpr int64_t kRows = 2;
// What is made at the first step, a graph or a plan, is not a step's time.
constexpr int64_t kFirstSteps = 2;

CoarseRequest longest(const models::FirstStage& stage) {
  CoarseRequest request;
  request.text = {stage.config().end_of_text};
  request.speaker = at::zeros({stage.speaker_width()});
  request.sampling.top_p = 0.95F;
  request.maximum_frames = stage.window();
  return request;
}

// Of keys and values of one position of all rows.
int64_t position_bytes(const layers::KvCache& cache) {
  const auto [keys, values] = cache.view(0);
  return cache.layers() * cache.rows() * 2 * keys.size(1) * keys.size(3) * static_cast<int64_t>(keys.itemsize());
}

}  // namespace

StepTimes step_times(const SpeechModel& model, const std::vector<int64_t>& positions, int64_t steps, StepPath path) {
  const models::FirstStage& stage = model.first_stage();
  for (const int64_t position : positions) core::require(position > 0 && position < stage.window() - 1, "positions inside the window");
  const bool own = path == StepPath::own;
  std::optional<ops::LibtorchOnly> plain;
  if (!own) plain.emplace();

  layers::KvPool pool = stage.make_pool(own ? kRows * layers::KvPool::pages_for(stage.window()) : 0);
  BatchStep batch(stage, pool, RowCounts::of(stage, kRows, /*deterministic=*/false));
  CoarseDecoder decoder(stage, longest(stage));
  decoder.prefill(own ? &pool : nullptr);
  FirstStageRun& run = decoder.run();
  const auto step = [&] {
    if (own) {
      run.extend();
      for (const auto& [failed, failure] : batch.run({&decoder})) std::rethrow_exception(failure);
    } else {
      const at::Tensor logits = run.step(decoder.last_id()).to(at::kCPU).contiguous();
      decoder.take_step(logits.data_ptr<float>(), logits.size(1));
    }
  };
  const auto seconds = [&](int64_t position) {
    run.seek(position);
    const auto start = std::chrono::steady_clock::now();
    step();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };

  // From the furthest on, so that it is filled once.
  std::vector<size_t> order(positions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return positions[a] > positions[b]; });
  StepTimes result{std::vector<double>(positions.size() * static_cast<size_t>(steps)), stage.step_bytes(), 0};
  for (int64_t i = 0; i < kFirstSteps && !order.empty(); ++i) seconds(positions[order[0]]);
  for (const size_t index : order)
    for (int64_t i = 0; i < steps; ++i) result.seconds[index * static_cast<size_t>(steps) + static_cast<size_t>(i)] = seconds(positions[index]);
  result.position_bytes = own ? kRows * pool.page_bytes() / ops::kPagePositions : position_bytes(stage.make_cache(kRows, 1));
  return result;
}

}  // namespace metavoice::engine
