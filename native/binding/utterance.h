// NativeUtterance of lib/native/contract.ts: pull chunks, one call at a time, or cancel.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/host.h"
#include "engine/utterance.h"

namespace metavoice::binding {

class UtteranceObject : public Napi::ObjectWrap<UtteranceObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // Made by NativeModel.start() only: (External<Start>).
  struct Start {
    std::shared_ptr<Host> host;
    engine::UtteranceRequest request;
  };
  explicit UtteranceObject(const Napi::CallbackInfo& info);
  ~UtteranceObject() override;

  // Rejects the call that waits, if any, and cancels.
  void fail(Napi::Env env, const core::Error& error);

 private:
  // The engine thread may speak after the object is gone; it reaches it only through this.
  struct Link {
    UtteranceObject* object;
  };

  Napi::Value next(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);
  void settle(Napi::Env env);
  void answer(Napi::Env env, engine::Utterance::Outcome outcome);
  std::shared_ptr<Task> stop_waiting();

  std::shared_ptr<Host> host_;
  std::shared_ptr<Link> link_;
  std::shared_ptr<engine::Utterance> utterance_;
  std::shared_ptr<Task> waiting_;
  bool failed_ = false;
};

engine::UtteranceRequest request_of(const Napi::Object& value);

}  // namespace metavoice::binding
