#include "binding/host.h"

#include "binding/utterance.h"

namespace metavoice::binding {

void Residents::stop() {
  for (Host* host : hosts) host->stop();
}

std::shared_ptr<Host> Host::create(Napi::Env env, const std::shared_ptr<Residents>& residents, const engine::SchedulerSettings& settings) {
  const std::shared_ptr<Host> host(new Host(env));
  host->residents_ = residents;
  residents->hosts.insert(host.get());
  host->mailbox_ = Mailbox::open(env);
  // Hooks run last in, first out: ours joins the thread before Node closes the mailbox under it.
  napi_add_env_cleanup_hook(env, on_environment_exit, host.get());
  host->scheduler_ = std::make_unique<engine::Scheduler>(settings);
  return host;
}

Host::~Host() {
  residents_->hosts.erase(this);
  if (hooked_) napi_remove_env_cleanup_hook(env_, on_environment_exit, this);
  stop();
}

void Host::on_environment_exit(void* data) {
  const std::shared_ptr<Host> host = static_cast<Host*>(data)->shared_from_this();
  host->hooked_ = false;
  host->stop();
  host->tasks_.clear();
  host->self_.reset();
}

void Host::stop() {
  if (stopped_) return;
  stopped_ = true;
  disposed_ = true;
  scheduler_->request_stop([model = model_] { model->reset(); });
  scheduler_->stop();
  mailbox_->close();
}

// Jobs run on threads of the scheduler, which is there as long as they are.
core::Stopped Host::stopped_by(std::shared_ptr<const std::atomic<bool>> flag) const {
  return [flag = std::move(flag), scheduler = scheduler_.get()] { return flag->load(std::memory_order_relaxed) || scheduler->stopping(); };
}

std::shared_ptr<Task> Host::begin(Napi::Env env) {
  auto task = std::make_shared<Task>(env);
  tasks_.insert(task);
  self_ = shared_from_this();
  mailbox_->hold();
  return task;
}

bool Host::finish(const std::shared_ptr<Task>& task) {
  if (tasks_.erase(task) == 0) return false;
  mailbox_->let_go();
  // Callers hold the host themselves, so this is never its end.
  if (tasks_.empty()) self_.reset();
  return true;
}

void Host::reject_everything(Napi::Env env) {
  const std::set<std::shared_ptr<Task>> waiting = tasks_;
  for (const auto& task : waiting)
    if (finish(task)) task->deferred.Reject(js_error(env, disposed_error()).Value());
  for (UtteranceObject* utterance : std::set<UtteranceObject*>(utterances_)) utterance->fail(env, disposed_error());
}

Napi::Value Host::dispose(Napi::Env env) {
  if (disposal_) return disposal_->deferred.Promise();
  if (disposed_) {
    const auto done = Napi::Promise::Deferred::New(env);
    done.Resolve(env.Undefined());
    return done.Promise();
  }
  disposed_ = true;
  reject_everything(env);
  disposal_ = begin(env);
  scheduler_->request_stop([model = model_, mailbox = mailbox_, host = weak_from_this()] {
    model->reset();
    mailbox->post([host](Napi::Env env) {
      const std::shared_ptr<Host> alive = host.lock();
      if (!alive || !alive->finish(alive->disposal_)) return;
      alive->disposal_->deferred.Resolve(env.Undefined());
    });
  });
  return disposal_->deferred.Promise();
}

}  // namespace metavoice::binding
