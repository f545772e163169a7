#include "binding/mailbox.h"

namespace metavoice::binding {

std::shared_ptr<Mailbox> Mailbox::open(Napi::Env env) {
  const std::shared_ptr<Mailbox> mailbox(new Mailbox(env));
  const napi_status status = napi_create_threadsafe_function(
      env, nullptr, nullptr, Napi::String::New(env, "metavoice.engine"), 0, 1, nullptr, nullptr, nullptr, deliver, &mailbox->function_);
  if (status != napi_ok) throw Napi::Error::New(env, "the engine could not open its way back to JavaScript");
  napi_unref_threadsafe_function(env, mailbox->function_);
  return mailbox;
}

void Mailbox::post(Letter letter) {
  const std::lock_guard lock(mutex_);
  if (function_ == nullptr) return;
  auto* data = new Letter(std::move(letter));
  if (napi_call_threadsafe_function(function_, data, napi_tsfn_nonblocking) == napi_ok) return;
  // Closing: Node may have freed the function with this call, so it is never touched again.
  function_ = nullptr;
  delete data;
}

void Mailbox::deliver(napi_env env, napi_value, void*, void* data) {
  const std::unique_ptr<Letter> letter(static_cast<Letter*>(data));
  if (env == nullptr) return;
  const Napi::HandleScope scope(env);
  try {
    (*letter)(Napi::Env(env));
  } catch (const Napi::Error&) {
    // Only an environment that is being torn down refuses to settle a promise; nobody is left to be told.
  }
}

void Mailbox::hold() {
  if (holds_++ > 0) return;
  const std::lock_guard lock(mutex_);
  if (function_ != nullptr) napi_ref_threadsafe_function(env_, function_);
}

void Mailbox::let_go() {
  if (--holds_ > 0) return;
  const std::lock_guard lock(mutex_);
  if (function_ != nullptr) napi_unref_threadsafe_function(env_, function_);
}

void Mailbox::close() {
  const std::lock_guard lock(mutex_);
  if (function_ != nullptr) napi_release_threadsafe_function(function_, napi_tsfn_abort);
  function_ = nullptr;
}

}  // namespace metavoice::binding
