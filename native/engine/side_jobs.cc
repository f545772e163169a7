#include "engine/side_jobs.h"

#include <c10/core/InferenceMode.h>

namespace metavoice::engine {

SideJobs::SideJobs() : thread_([this] { run(); }) {}

SideJobs::~SideJobs() {
  request_stop();
  join();
}

bool SideJobs::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    jobs_.push_back(std::move(job));
  }
  posted_.notify_one();
  return true;
}

void SideJobs::request_stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  posted_.notify_one();
}

void SideJobs::join() {
  if (thread_.joinable()) thread_.join();
  jobs_.clear();
}

void SideJobs::run() {
  const c10::InferenceMode inference;
  std::unique_lock lock(mutex_);
  while (true) {
    posted_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
    if (stopping_) return;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    job = nullptr;  // what it holds goes before the lock comes back
    lock.lock();
  }
}

}  // namespace metavoice::engine
