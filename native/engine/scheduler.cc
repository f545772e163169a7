#include "engine/scheduler.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"

namespace metavoice::engine {

namespace {

// The weight of the newest utterance in the mean.
constexpr double kNewest = 0.25;

}  // namespace

Scheduler::Scheduler(int64_t batch_size, int64_t max_queue)
    : batch_size_(static_cast<size_t>(std::max<int64_t>(1, batch_size))),
      max_queue_(static_cast<size_t>(std::max<int64_t>(0, max_queue))),
      thread_([this] { run(); }) {}

Scheduler::~Scheduler() { stop(); }

bool Scheduler::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
  return true;
}

bool Scheduler::add(std::shared_ptr<Utterance> utterance) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    require_room();
    waiting_.push_back(std::move(utterance));
  }
  changed_.notify_one();
  return true;
}

void Scheduler::require_room() const {
  const auto unfinished = [](const auto& queue) {
    return static_cast<size_t>(std::count_if(queue.begin(), queue.end(), [](const auto& each) { return !each->finished(); }));
  };
  const size_t ahead = unfinished(active_) + unfinished(waiting_);
  if (ahead < batch_size_ || ahead - batch_size_ < max_queue_) return;
  // They share one device, so all of them are to be computed before a new one.
  const std::string seconds = std::to_string(static_cast<int64_t>(std::ceil(mean_milliseconds_ * static_cast<double>(ahead) / 1000)));
  const std::string wait = mean_milliseconds_ > 0 ? "about " + seconds + " s until they are done" : "none has ended yet to tell how long that takes";
  core::Error::Details details = {{"ahead", std::to_string(ahead)}, {"maxQueue", std::to_string(max_queue_)}};
  if (mean_milliseconds_ > 0) details.emplace_back("predictedSeconds", seconds);
  throw core::Error("ERR_QUEUE_FULL",
                    "expected at most " + std::to_string(batch_size_) + " requests at a time and " + std::to_string(max_queue_) +
                        " waiting, but " + std::to_string(ahead) + " are there (" + wait +
                        "); try again later, or load the model with a larger batchSize or maxQueue",
                    std::move(details));
}

void Scheduler::wake() {
  // Passing through the lock orders the wake after the change that the thread must see.
  { const std::lock_guard lock(mutex_); }
  changed_.notify_one();
}

void Scheduler::request_stop(std::function<void()> when_stopped) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    when_stopped_ = std::move(when_stopped);
    for (const auto* queue : {&active_, &waiting_})
      for (const auto& utterance : *queue) utterance->cancel();
  }
  changed_.notify_one();
}

void Scheduler::stop() {
  request_stop(nullptr);
  if (thread_.joinable()) thread_.join();
}

void Scheduler::run() {
  const c10::InferenceMode inference;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    retire_finished();
    if (!jobs_.empty()) {
      std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      job = nullptr;  // what it holds goes before the lock comes back
      lock.lock();
      continue;
    }
    admit_waiting();
    if (const auto utterance = next_in_turn()) {
      lock.unlock();
      utterance->advance();
      lock.lock();
      continue;
    }
    changed_.wait(lock);
  }
  for (const auto& utterance : active_) utterance->release();
  for (const auto& utterance : waiting_) utterance->release();
  active_.clear();
  waiting_.clear();
  jobs_.clear();
  const std::function<void()> when_stopped = std::move(when_stopped_);
  lock.unlock();
  if (when_stopped) when_stopped();
}

void Scheduler::retire_finished() {
  std::erase_if(active_, [this](const std::shared_ptr<Utterance>& utterance) {
    const bool finished = utterance->finished();
    if (!finished) return false;
    const double spent = utterance->spent();
    if (!utterance->cancelled() && spent > 0)
      mean_milliseconds_ = mean_milliseconds_ == 0 ? spent : (1 - kNewest) * mean_milliseconds_ + kNewest * spent;
    utterance->release();
    return true;
  });
  std::erase_if(waiting_, [](const std::shared_ptr<Utterance>& utterance) {
    const bool finished = utterance->finished();
    if (finished) utterance->release();
    return finished;
  });
}

void Scheduler::admit_waiting() {
  const auto resting = [this] {
    return std::none_of(active_.begin(), active_.end(), [](const auto& utterance) { return utterance->wants_work(); });
  };
  while (!waiting_.empty() && (active_.size() < batch_size_ || resting())) {
    active_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

std::shared_ptr<Utterance> Scheduler::next_in_turn() {
  for (size_t i = 0; i < active_.size(); ++i) {
    std::shared_ptr<Utterance> utterance = std::move(active_.front());
    active_.pop_front();
    active_.push_back(utterance);
    if (utterance->wants_work()) return utterance;
  }
  return nullptr;
}

}  // namespace metavoice::engine
