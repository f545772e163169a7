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
// What is made at the first launch, a graph or a plan, is not a step's time.
constexpr int kFirstLaunches = 2;
constexpr int kTries = 50;

CoarseRequest longest(const models::FirstStage& stage) {
  CoarseRequest request;
  request.text = {stage.config().end_of_text};
  request.speaker = at::zeros({stage.speaker_width()});
  request.sampling.top_p = 0.95F;
  request.maximum_frames = stage.window();
  return request;
}

// Of keys and values of one position of all rows.
int64_t bytes_of_position(const layers::KvCache& cache) {
  const auto [keys, values] = cache.view(0);
  return cache.layers() * cache.rows() * 2 * keys.size(1) * keys.size(3) * static_cast<int64_t>(keys.itemsize());
}

// One utterance that steps wherever it is put, whatever it says.
class Stepper {
 public:
  Stepper(const models::FirstStage& stage, bool own)
      : stage_(stage),
        own_(own),
        pool_(stage.make_pool(own ? kRows * layers::KvPool::pages_for(stage.window()) : 0)),
        batch_(stage, pool_, RowCounts::of(stage, kRows, /*deterministic=*/false)),
        together_(own ? batch_.most_steps() : 1) {}

  // Of one step. Where some go in one launch, that of a launch around the position, shared out. To go further on than before
  // takes long.
  double seconds(int64_t position) {
    for (int i = 0; i < kTries; ++i) {
      if (!decoder_ || decoder_->left() < together_) begin();
      if (const std::optional<double> found = launch(position)) return *found / static_cast<double>(together_);
    }
    throw core::Error("ERR_INTERNAL", "expected a model that does not end its speech at once, wherever it is");
  }

  int64_t position_bytes() const {
    return own_ ? kRows * pool_.page_bytes() / ops::kPagePositions : bytes_of_position(stage_.make_cache(kRows, 1));
  }

 private:
  void begin() {
    decoder_.reset();  // its pages come back first
    decoder_.emplace(stage_, longest(stage_));
    decoder_->prefill(own_ ? &pool_ : nullptr);
    for (int i = 0; i < kFirstLaunches; ++i) launch(stage_.window() - 2);
  }

  // None where a device that draws found the end, and so took fewer steps.
  std::optional<double> launch(int64_t position) {
    const int64_t before = decoder_->steps();
    const int64_t last = std::max<int64_t>(1, stage_.window() - 1 - together_);
    decoder_->run().seek(std::clamp<int64_t>(position - together_ / 2, 1, last));
    const auto start = std::chrono::steady_clock::now();
    step();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return decoder_->steps() - before == together_ ? std::optional(seconds) : std::nullopt;
  }

  void step() {
    FirstStageRun& run = decoder_->run();
    if (own_) {
      run.extend(together_);
      for (const auto& [failed, failure] : batch_.run({&*decoder_}, together_)) std::rethrow_exception(failure);
    } else {
      const at::Tensor logits = run.step(decoder_->last_id()).to(at::kCPU).contiguous();
      decoder_->take_step(logits.data_ptr<float>(), logits.size(1));
    }
  }

  const models::FirstStage& stage_;
  const bool own_;
  layers::KvPool pool_;
  BatchStep batch_;
  const int64_t together_;  // steps of a launch
  std::optional<CoarseDecoder> decoder_;
};

}  // namespace

StepTimes step_times(const SpeechModel& model, const std::vector<int64_t>& positions, int64_t steps, StepPath path) {
  const models::FirstStage& stage = model.first_stage();
  for (const int64_t position : positions) core::require(position > 0 && position < stage.window() - 1, "positions inside the window");
  std::optional<ops::LibtorchOnly> plain;
  if (path == StepPath::libtorch) plain.emplace();
  Stepper stepper(stage, path == StepPath::own);
  // From the furthest on, so that keys and values are made once.
  std::vector<size_t> order(positions.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return positions[a] > positions[b]; });
  const auto count = static_cast<size_t>(steps);
  StepTimes result{std::vector<double>(positions.size() * count), stage.step_bytes(), stepper.position_bytes()};
  for (const size_t index : order)
    for (size_t i = 0; i < count; ++i) result.seconds[index * count + i] = stepper.seconds(positions[index]);
  return result;
}

}  // namespace metavoice::engine
