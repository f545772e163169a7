// The engine thread: all utterances that have a place advance one decode step together as one batch, and come and go at any
// launch; their prompts run in between, and jobs (a voice, a stage on its own), in order. Beside it a second thread says
// their chunks, one after another: second stage and decoder, on a GPU in a stream of its own. A third one does side jobs, which
// need neither: enhancing what was said, while the next chunk is being said.
#pragma once

#include <atomic>
#include <chrono>
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
#include "engine/side_jobs.h"
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
  // The same on the third thread, in order among themselves.
  bool post_beside(std::function<void()> job) { return side_jobs_.post(std::move(job)); }
  // Throws ERR_QUEUE_FULL, with the wait that is to be expected; never for a later segment of what is being spoken.
  bool add(std::shared_ptr<Utterance> utterance);
  // A reader took a chunk, or cancelled.
  void wake();
  // Ends all threads after what they are at, dropping what waits; `when_stopped` is the last thing it does.
  // The first call counts; does not wait.
  void request_stop(std::function<void()> when_stopped);
  // Asks and waits. Idempotent; not from the engine's threads.
  void stop();
  // For jobs that take long: the stop waits for them.
  bool stopping() const { return stopping_.load(std::memory_order_relaxed); }

  Snapshot statistics() const { return statistics_.snapshot(); }

 private:
  using Handle = Places::Handle;
  // A chunk that waits to be said.
  struct Claim {
    Handle utterance;
    DueChunk due;
  };

  void run();
  void require_room(const Utterance& utterance);
  void retire_finished();
  std::function<void()> next_launch();
  void claim_chunks();
  Claim next_claim();
  void say(const Claim& claim);
  void say_chunks();
  void step_together();
  int64_t choose_steps(int64_t most, std::vector<Handle>& all);
  void take_steps(const std::vector<Handle>& all, int64_t steps);
  void count_steps(const std::vector<Handle>& all, const std::vector<int64_t>& before);
  void report_load();
  int64_t pool_pages() const { return pool_ ? pool_->pages() : 0; }

  const SchedulerSettings settings_;
  Statistics statistics_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::condition_variable claimed_;  // for the second thread
  std::deque<std::function<void()>> jobs_;
  Places places_;                 // under the lock
  std::deque<Claim> claims_;      // in order, under the lock
  bool saying_ = false;           // one of them, on the second thread
  std::chrono::steady_clock::time_point released_{};  // memory, the last time
  double mean_milliseconds_ = 0;  // of computing that an utterance took; 0 before the first has ended
  std::atomic<bool> stopping_{false};  // set under the lock
  std::function<void()> when_stopped_;

  // Engine thread only.
  std::shared_ptr<const SpeechModel> model_;
  std::unique_ptr<layers::KvPool> pool_;
  std::optional<BatchStep> batch_step_;

  SideJobs side_jobs_;         // on the third thread
  std::thread second_thread_;  // say_chunks()
  std::thread thread_;         // run()
};

}  // namespace metavoice::engine
