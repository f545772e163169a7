// The engine thread: it owns the device and everything that computes runs on it. Utterances share it launch by launch,
// in turn; one whose chunks nobody takes rests. Jobs (a voice, a stage on its own) run between launches, in order.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>

#include "engine/utterance.h"

namespace metavoice::engine {

class Scheduler {
 public:
  // `batch_size` utterances hold a cache; the others wait in order. One more is let in only when all of these rest,
  // so that readers who pause can't block the others. Beyond `max_queue` waiting ones, more are refused.
  explicit Scheduler(int64_t batch_size, int64_t max_queue = std::numeric_limits<int64_t>::max());
  ~Scheduler();

  // Jobs must not throw. After stop() they are dropped and false comes back.
  bool post(std::function<void()> job);
  // Throws ERR_QUEUE_FULL, with the wait that is to be expected.
  bool add(std::shared_ptr<Utterance> utterance);
  // A reader took a chunk, or cancelled.
  void wake();
  // Ends the thread after the launch in flight, dropping what waits; `when_stopped` is the last thing it does.
  // The first call counts; does not wait.
  void request_stop(std::function<void()> when_stopped);
  // Asks and waits. Idempotent; not from the engine thread.
  void stop();

 private:
  void run();
  void require_room() const;
  void retire_finished();
  void admit_waiting();
  std::shared_ptr<Utterance> next_in_turn();

  const size_t batch_size_;
  const size_t max_queue_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  std::deque<std::shared_ptr<Utterance>> waiting_;
  std::deque<std::shared_ptr<Utterance>> active_;  // in turn
  double mean_milliseconds_ = 0;  // of computing that an utterance took; 0 before the first has ended
  bool stopping_ = false;
  std::function<void()> when_stopped_;
  std::thread thread_;
};

}  // namespace metavoice::engine
