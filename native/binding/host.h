// What a loaded model needs on the JavaScript side: its engine thread, the way back, and the promises that wait.
#pragma once

#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "binding/mailbox.h"
#include "binding/values.h"
#include "core/stop.h"
#include "engine/scheduler.h"
#include "engine/speech_model.h"

namespace metavoice::binding {

class Host;
class UtteranceObject;

// The models of one environment, for the end of the process: exit() destroys libtorch's globals while threads compute,
// so the threads are joined before, at the event 'exit'. (An environment that is torn down has its cleanup hooks.)
struct Residents {
  std::set<Host*> hosts;
  void stop();
};

// A promise that somebody waits for. Settled once, on the JavaScript thread.
struct Task {
  explicit Task(Napi::Env env) : deferred(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise::Deferred deferred;
};

class Host : public std::enable_shared_from_this<Host> {
 public:
  static std::shared_ptr<Host> create(Napi::Env env, const std::shared_ptr<Residents>& residents, const engine::SchedulerSettings& settings);
  ~Host();

  // `work(model)` on the engine thread, then `answer(env, result)` on the JavaScript thread: a promise.
  template <class Work, class Answer>
  Napi::Value run(Napi::Env env, Work work, Answer answer);

  // The same beside the decode steps and the chunks, on the engine's thread for side jobs.
  template <class Work, class Answer>
  Napi::Value run_beside(Napi::Env env, Work work, Answer answer);

  // Work that takes long, on the engine thread: `work(model, stopped)` -> { done, cancel() }, the promise and what stops the work.
  template <class Work, class Answer>
  Napi::Value run_stoppable(Napi::Env env, Work work, Answer answer);

  // For jobs: whether this was set, or the model is being disposed of.
  core::Stopped stopped_by(std::shared_ptr<const std::atomic<bool>> flag) const;

  // Loads the model on the engine thread; `answer(env)` makes the value of the promise.
  template <class Answer>
  Napi::Value load(Napi::Env env, engine::ModelDescription description, Answer answer);

  // A promise for the end of the engine thread. Everything pending rejects with ERR_DISPOSED at once.
  Napi::Value dispose(Napi::Env env);
  bool disposed() const { return disposed_; }

  std::shared_ptr<Task> begin(Napi::Env env);
  // False when it was settled before.
  bool finish(const std::shared_ptr<Task>& task);

  // Ends the engine thread after the launch in flight, and waits for it.
  void stop();

  // Utterances that live, so that dispose reaches them.
  void enrol(UtteranceObject* utterance) { utterances_.insert(utterance); }
  void dismiss(UtteranceObject* utterance) { utterances_.erase(utterance); }

  engine::Scheduler& scheduler() { return *scheduler_; }
  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }
  // The engine thread owns the model and frees it; here it is only handed on.
  const std::shared_ptr<const engine::SpeechModel>& model() const { return *model_; }

 private:
  using Post = bool (engine::Scheduler::*)(std::function<void()>);
  template <class Work, class Answer>
  Napi::Value run_on(Post post, Napi::Env env, Work work, Answer answer);

  explicit Host(Napi::Env env) : env_(env) {}
  static void on_environment_exit(void* data);
  void reject_everything(Napi::Env env);

  const Napi::Env env_;
  std::shared_ptr<Residents> residents_;
  std::shared_ptr<Mailbox> mailbox_;
  std::unique_ptr<engine::Scheduler> scheduler_;
  std::shared_ptr<std::shared_ptr<const engine::SpeechModel>> model_ =
      std::make_shared<std::shared_ptr<const engine::SpeechModel>>();
  std::set<std::shared_ptr<Task>> tasks_;
  std::shared_ptr<Host> self_;  // while somebody waits, whatever JavaScript lets go of
  std::set<UtteranceObject*> utterances_;
  std::shared_ptr<Task> disposal_;
  bool disposed_ = false;
  bool stopped_ = false;
  bool hooked_ = true;
};

inline core::Error disposed_error() {
  return core::Error("ERR_DISPOSED", "the model was disposed; load it again to go on");
}

template <class Work, class Answer>
Napi::Value Host::run(Napi::Env env, Work work, Answer answer) {
  return run_on(&engine::Scheduler::post, env, std::move(work), std::move(answer));
}

template <class Work, class Answer>
Napi::Value Host::run_beside(Napi::Env env, Work work, Answer answer) {
  return run_on(&engine::Scheduler::post_beside, env, std::move(work), std::move(answer));
}

template <class Work, class Answer>
Napi::Value Host::run_stoppable(Napi::Env env, Work work, Answer answer) {
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  const Napi::Object result = Napi::Object::New(env);
  result.Set("done", run(env, [work = std::move(work), stopped = stopped_by(cancelled)](const engine::SpeechModel& model) { return work(model, stopped); },
                         std::move(answer)));
  result.Set("cancel", Napi::Function::New(env, [cancelled](const Napi::CallbackInfo&) { *cancelled = true; }, "cancel"));
  return result;
}

template <class Work, class Answer>
Napi::Value Host::run_on(Post post, Napi::Env env, Work work, Answer answer) {
  const std::shared_ptr<Task> task = begin(env);
  const Napi::Promise promise = task->deferred.Promise();
  using Result = std::invoke_result_t<Work, const engine::SpeechModel&>;
  auto job = [task, work = std::move(work), answer = std::move(answer), model = model_, mailbox = mailbox_,
              host = weak_from_this()]() mutable {
    auto result = std::make_shared<std::optional<Result>>();
    std::exception_ptr failure;
    try {
      *result = work(**model);
    } catch (...) {
      failure = std::current_exception();
    }
    mailbox->post([task, result, failure, answer = std::move(answer), host](Napi::Env env) {
      const std::shared_ptr<Host> alive = host.lock();
      if (!alive || !alive->finish(task)) return;
      if (failure) task->deferred.Reject(js_error(env, core::translate(failure)).Value());
      else task->deferred.Resolve(answer(env, **result));
    });
  };
  if (disposed_ || !(scheduler_.get()->*post)(std::move(job))) {
    if (finish(task)) task->deferred.Reject(js_error(env, disposed_error()).Value());
  }
  return promise;
}

template <class Answer>
Napi::Value Host::load(Napi::Env env, engine::ModelDescription description, Answer answer) {
  const std::shared_ptr<Task> task = begin(env);
  const Napi::Promise promise = task->deferred.Promise();
  scheduler_->post([task, description = std::move(description), answer = std::move(answer), model = model_,
                    mailbox = mailbox_, scheduler = scheduler_.get(), host = weak_from_this()]() mutable {
    std::exception_ptr failure;
    try {
      *model = std::make_shared<const engine::SpeechModel>(description);
      scheduler->prepare(*model);
    } catch (...) {
      failure = std::current_exception();
    }
    mailbox->post([task, failure, answer = std::move(answer), host](Napi::Env env) {
      const std::shared_ptr<Host> alive = host.lock();
      if (!alive || !alive->finish(task)) return;
      if (failure) task->deferred.Reject(js_error(env, core::translate(failure)).Value());
      else task->deferred.Resolve(answer(env, alive));
    });
  });
  return promise;
}

}  // namespace metavoice::binding
