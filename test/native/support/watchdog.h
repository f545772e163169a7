// Ends the process when one test case takes too long, and says which: a lost wake-up must not look like a slow machine.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

namespace metavoice::testing {

class Watchdog {
 public:
  explicit Watchdog(std::chrono::seconds patience) : patience_(patience), thread_([this] { run(); }) {}

  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  // An empty name: nothing is running.
  void watch(std::string name) {
    {
      const std::lock_guard lock(mutex_);
      name_ = std::move(name);
      ++turn_;
    }
    changed_.notify_one();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    while (!ended_) {
      const auto turn = turn_;
      const bool moved = changed_.wait_for(lock, patience_, [&] { return ended_ || turn_ != turn; });
      if (moved || name_.empty()) continue;
      std::fprintf(stderr, "the test case \"%s\" did not end within %lld s\n", name_.c_str(),
                   static_cast<long long>(patience_.count()));
      std::fflush(nullptr);
      std::_Exit(3);
    }
  }

  std::chrono::seconds patience_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string name_;
  unsigned turn_ = 0;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace metavoice::testing
