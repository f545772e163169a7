// The engine thread: it owns the device and everything that computes runs on it. All utterances that have a place advance
// one decode step together as one batch, and come and go at any launch; their prompts and chunks run in between. Jobs (a
// voice, a stage on its own) run between launches, in order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/batch_step.h"
#include "engine/places.h"
#include "engine/statistics.h"
#include "engine/utterance.h"

namespace metavoice::engine {

struct SchedulerSettings {
  // Utterances of the greatest length that the key-value pool holds; of short ones it holds more.
  int64_t batch_size = 1;
  // Of those that begin, so many may wait for a place; more are refused.
  int64_t max_queue = std::numeric_limits<int64_t>::max();
  // Rows of guidance, and positions, of the longest utterance that the pool is planned for; 0: those of the window.
  int64_t rows = 2;
  int64_t positions = 0;
  bool deterministic = false;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerSettings& settings);
  explicit Scheduler(int64_t batch_size, int64_t max_queue = std::numeric_limits<int64_t>::max())
      : Scheduler(SchedulerSettings{.batch_size = batch_size, .max_queue = max_queue}) {}
  ~Scheduler();

  // Engine thread: makes the key-value pool for a model. Without it the first utterance does.
  void prepare(std::shared_ptr<const SpeechModel> model);

  // Jobs must not throw. After stop() they are dropped and false comes back.
  bool post(std::function<void()> job);
  // Throws ERR_QUEUE_FULL, with the wait that is to be expected; never for a later segment of what is being spoken.
  bool add(std::shared_ptr<Utterance> utterance);
  // A reader took a chunk, or cancelled.
  void wake();
  // Ends the thread after the launch in flight, dropping what waits; `when_stopped` is the last thing it does.
  // The first call counts; does not wait.
  void request_stop(std::function<void()> when_stopped);
  // Asks and waits. Idempotent; not from the engine thread.
  void stop();

  Snapshot statistics() const { return statistics_.snapshot(); }

 private:
  using Handle = Places::Handle;

  void run();
  void require_room(const Utterance& utterance);
  void retire_finished();
  std::function<void()> next_launch();
  Handle next_chunk(bool first_ones);
  void say_chunk(Utterance& utterance);
  void step_together(int64_t most_steps);
  void take_step(const std::vector<Handle>& all);
  void release_pool();
  void report_load();
  int64_t pool_pages() const { return pool_ ? pool_->pages() : 0; }

  const SchedulerSettings settings_;
  Statistics statistics_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  Places places_;                 // under the lock
  size_t turn_ = 0;               // whose chunk comes next
  double mean_milliseconds_ = 0;  // of computing that an utterance took; 0 before the first has ended
  bool stopping_ = false;
  std::function<void()> when_stopped_;

  // Engine thread only.
  std::shared_ptr<const SpeechModel> model_;
  std::unique_ptr<layers::KvPool> pool_;
  std::optional<BatchStep> batch_step_;

  std::thread thread_;
};

}  // namespace metavoice::engine
