// What an engine has done, for operators: counts since it was loaded, and rates over the last seconds. Written by the
// engine's threads, read by any.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace metavoice::engine {

struct Snapshot {
  // Now.
  int64_t active = 0;   // utterances that hold a place
  int64_t resting = 0;  // of these, those whose reader has enough
  int64_t parked = 0;   // whose keys and values lie on the host, because their reader rests and others need the pages
  int64_t queued = 0;   // that wait for a place
  int64_t pages = 0;    // of the key-value pool
  int64_t used_pages = 0;
  int64_t page_bytes = 0;
  // Since it was loaded.
  int64_t peak_active = 0;
  int64_t peak_queued = 0;
  int64_t peak_used_pages = 0;
  int64_t ended = 0;
  int64_t cancelled = 0;
  int64_t failed = 0;
  int64_t refused = 0;
  int64_t batch_steps = 0;  // one for all utterances that took it together
  int64_t steps = 0;        // one for each of them
  double audio_seconds = 0;
  // Over the last ten seconds.
  double batch_steps_per_second = 0;
  double audio_seconds_per_second = 0;
};

// A sum over the last ten seconds.
class Rate {
 public:
  using Clock = std::chrono::steady_clock;
  void add(double amount, Clock::time_point now);
  double per_second(Clock::time_point now) const;

 private:
  static constexpr int64_t kSeconds = 10;
  struct Bucket {
    int64_t second = -1;
    double sum = 0;
  };
  static int64_t second_of(Clock::time_point time);
  std::array<Bucket, kSeconds + 1> buckets_;
  int64_t first_second_ = -1;
};

class Statistics {
 public:
  void count_step(int64_t utterances);
  void count_audio(double seconds);
  enum class Fate { ended, cancelled, failed, refused };
  void count(Fate fate);
  void set_pool(int64_t pages, int64_t page_bytes);
  void set_pages_used(int64_t pages);
  void set_load(int64_t active, int64_t resting, int64_t parked, int64_t queued);

  Snapshot snapshot() const;

 private:
  mutable std::mutex mutex_;
  Snapshot now_;
  Rate steps_, audio_;
};

}  // namespace metavoice::engine
