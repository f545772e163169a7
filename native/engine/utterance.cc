#include "engine/utterance.h"

#include <algorithm>

#include "engine/utterance_work.h"

namespace metavoice::engine {

namespace {

constexpr int kStepsPerLaunch = 8;

}  // namespace

Utterance::Utterance(std::shared_ptr<const SpeechModel> model, UtteranceRequest request, std::function<void()> notify)
    : model_(std::move(model)),
      request_(std::move(request)),
      notify_(std::move(notify)),
      window_(model_->has_first_stage() ? model_->first_stage().window() : 1) {}

Utterance::~Utterance() = default;

bool Utterance::leaving() const {
  const std::lock_guard lock(mutex_);
  return done_ || cancelled();
}

bool Utterance::finished() const {
  const std::lock_guard lock(mutex_);
  return (done_ || cancelled()) && unsaid_ == 0;
}

bool Utterance::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

bool Utterance::failed() const {
  const std::lock_guard lock(mutex_);
  return failure_ != nullptr;
}

bool Utterance::wants_work() const {
  const std::lock_guard lock(mutex_);
  return !done_ && !ending_ && !cancelled() && chunks_.size() + unsaid_ < allowed_chunks();
}

Utterance::Need Utterance::need() const {
  if (!wants_work()) return Need::nothing;
  if (!work_ || !work_->coarse.started()) return Need::prompt;
  return work_->chunk_ready() ? Need::chunk : Need::step;
}

UtteranceWork& Utterance::work() {
  if (!work_) work_ = std::make_unique<UtteranceWork>(*model_, request_, [this] { return cancelled(); });
  return *work_;
}

void Utterance::attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (...) {
    fail(std::current_exception());
  }
}

void Utterance::prompt(layers::KvPool* pool) {
  attempt([&] {
    const Stopwatch watch(work().timings.prefill);
    work_->coarse.prefill(pool);
  });
}

CoarseDecoder& Utterance::coarse() { return work_->coarse; }

void Utterance::took_step(double milliseconds) { work_->timings.first_stage += milliseconds; }

void Utterance::fail(std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    if (ending_ || done_) return;
    ending_ = true;
    failure_ = std::move(failure);
    done_ = unsaid_ == 0;
    if (!done_) return;
  }
  if (notify_) notify_();
}

DueChunk Utterance::claim_chunk() {
  DueChunk due = work_->claim();
  const std::lock_guard lock(mutex_);
  ++unsaid_;
  ending_ = due.end_reason != EndReason::none;
  return due;
}

int64_t Utterance::say(const DueChunk& due) {
  if (leaving()) return 0;
  int64_t frames = 0;
  try {
    Chunk chunk = work_->say(due);
    const std::lock_guard lock(mutex_);
    if (cancelled()) return 0;
    frames = chunk.frames;
    chunks_.push_back(std::move(chunk));
    done_ = ending_ && unsaid_ == 1;
  } catch (...) {
    const std::lock_guard lock(mutex_);
    // Sampling that was stopped by the cancel has not failed.
    if (cancelled()) return 0;
    failure_ = std::current_exception();
    ending_ = done_ = true;
  }
  if (notify_) notify_();
  return frames;
}

void Utterance::said() {
  {
    const std::lock_guard lock(mutex_);
    --unsaid_;
    // A step failed while the last chunk before it was being said.
    if (unsaid_ > 0 || !ending_ || done_ || cancelled()) return;
    done_ = true;
  }
  if (notify_) notify_();
}

void Utterance::park() { if (work_) attempt([this] { work_->coarse.run().park(); }); }

void Utterance::unpark() { if (work_) attempt([this] { work_->coarse.run().unpark(); }); }

void Utterance::advance() {
  const Need next = need();
  if (next == Need::prompt) prompt(nullptr);
  if (next != Need::step && next != Need::chunk) return;
  attempt([&] {
    if (next == Need::chunk) {
      say(claim_chunk());
      said();
      return;
    }
    const Stopwatch watch(work_->timings.first_stage);
    for (int i = 0; i < kStepsPerLaunch && !work_->chunk_ready() && !cancelled(); ++i) work_->coarse.step();
  });
}

int64_t Utterance::steps_to_chunk() const { return work_->steps_to_chunk(); }

int64_t Utterance::needed_pages(int64_t steps) const {
  return work_ ? work_->coarse.run().needed_pages(std::clamp<int64_t>(work_->coarse.left(), 1, steps)) : 0;
}

// The last id that is drawn is never fed.
int64_t Utterance::pages_for(int64_t frames) const {
  const int64_t most = request_.coarse.maximum_frames;
  const int64_t positions = request_.coarse.prompt_length() + 2 * (frames <= 0 ? most : std::min(frames, most));
  return request_.coarse.guidance.rows() * layers::KvPool::pages_for(std::min(positions, window_ - 1));
}

double Utterance::spent() const {
  if (!work_) return 0;
  const Timings& timings = work_->timings;
  return timings.prefill + timings.first_stage + work_->saying.second_stage + work_->saying.decoder;
}

void Utterance::release() {
  work_.reset();
  model_.reset();
}

std::optional<Utterance::Outcome> Utterance::take() {
  const std::lock_guard lock(mutex_);
  if (cancelled()) return Outcome{};
  if (!chunks_.empty()) {
    Outcome outcome{std::move(chunks_.front()), nullptr};
    chunks_.pop_front();
    return outcome;
  }
  if (done_) return Outcome{std::nullopt, failure_};
  return std::nullopt;
}

void Utterance::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  chunks_.clear();
}

}  // namespace metavoice::engine
