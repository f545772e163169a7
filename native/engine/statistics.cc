#include "engine/statistics.h"

#include <algorithm>

namespace metavoice::engine {

int64_t Rate::second_of(Clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

void Rate::add(double amount, Clock::time_point now) {
  const int64_t second = second_of(now);
  if (first_second_ < 0) first_second_ = second;
  Bucket& bucket = buckets_[static_cast<size_t>(second) % buckets_.size()];
  if (bucket.second != second) bucket = {second, 0};
  bucket.sum += amount;
}

double Rate::per_second(Clock::time_point now) const {
  if (first_second_ < 0) return 0;
  const int64_t second = second_of(now);
  double sum = 0;
  for (const Bucket& bucket : buckets_)
    if (bucket.second > second - kSeconds) sum += bucket.sum;
  return sum / static_cast<double>(std::clamp<int64_t>(second - first_second_ + 1, 1, kSeconds));
}

void Statistics::count_step(int64_t utterances) {
  const std::lock_guard lock(mutex_);
  ++now_.batch_steps;
  now_.steps += utterances;
  steps_.add(1, Rate::Clock::now());
}

void Statistics::count_audio(double seconds) {
  const std::lock_guard lock(mutex_);
  now_.audio_seconds += seconds;
  audio_.add(seconds, Rate::Clock::now());
}

void Statistics::count(Fate fate) {
  const std::lock_guard lock(mutex_);
  switch (fate) {
    case Fate::ended: ++now_.ended; break;
    case Fate::cancelled: ++now_.cancelled; break;
    case Fate::failed: ++now_.failed; break;
    case Fate::refused: ++now_.refused; break;
  }
}

void Statistics::set_pool(int64_t pages, int64_t page_bytes) {
  const std::lock_guard lock(mutex_);
  now_.pages = pages;
  now_.page_bytes = page_bytes;
}

void Statistics::set_pages_used(int64_t pages) {
  const std::lock_guard lock(mutex_);
  now_.used_pages = pages;
  now_.peak_used_pages = std::max(now_.peak_used_pages, pages);
}

void Statistics::set_load(int64_t active, int64_t resting, int64_t parked, int64_t queued) {
  const std::lock_guard lock(mutex_);
  now_.active = active;
  now_.resting = resting;
  now_.parked = parked;
  now_.queued = queued;
  now_.peak_active = std::max(now_.peak_active, active);
  now_.peak_queued = std::max(now_.peak_queued, queued);
}

Snapshot Statistics::snapshot() const {
  const std::lock_guard lock(mutex_);
  Snapshot result = now_;
  const auto now = Rate::Clock::now();
  result.batch_steps_per_second = steps_.per_second(now);
  result.audio_seconds_per_second = audio_.per_second(now);
  return result;
}

}  // namespace metavoice::engine
