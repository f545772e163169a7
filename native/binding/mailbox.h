// The way from the engine thread back to JavaScript: letters are posted from any thread and opened, in order, on the
// JavaScript thread. It keeps the event loop alive only while somebody waits for an answer.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <mutex>

namespace metavoice::binding {

class Mailbox : public std::enable_shared_from_this<Mailbox> {
 public:
  using Letter = std::function<void(Napi::Env)>;

  static std::shared_ptr<Mailbox> open(Napi::Env env);

  // Any thread. After close(), or once the environment goes down, letters are dropped.
  void post(Letter letter);

  // JavaScript thread.
  void hold();
  void let_go();
  void close();

 private:
  explicit Mailbox(Napi::Env env) : env_(env) {}
  static void deliver(napi_env env, napi_value, void*, void* data);

  const Napi::Env env_;
  int holds_ = 0;
  std::mutex mutex_;
  napi_threadsafe_function function_ = nullptr;  // null once closed; guarded by the mutex
};

}  // namespace metavoice::binding
