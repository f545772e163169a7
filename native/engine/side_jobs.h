// Jobs on a thread of their own, one after another, beside whatever else the engine does.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace metavoice::engine {

class SideJobs {
 public:
  SideJobs();
  ~SideJobs();

  // A job must not throw. After the stop it is dropped and false comes back.
  bool post(std::function<void()> job);
  // The thread ends after what it is at; does not wait. Any thread.
  void request_stop();
  // Waits for the end of the thread, and lets go of what was dropped. After request_stop(); once, not from a job.
  void join();

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;  // run()
};

}  // namespace metavoice::engine
