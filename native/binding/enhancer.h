// NativeEnhancer of lib/native/contract.ts: one speech on its way through the enhancer, on a thread of the engine's own.
#pragma once

#include <napi.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>

#include "binding/host.h"
#include "engine/enhancer.h"

namespace metavoice::binding {

class EnhancerObject : public Napi::ObjectWrap<EnhancerObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // Made by NativeModel.enhancer() only: (External<Start>).
  struct Start {
    std::shared_ptr<Host> host;
    int64_t sample_rate;
  };
  explicit EnhancerObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value push(const Napi::CallbackInfo& info);
  Napi::Value finish(const Napi::CallbackInfo& info);
  Napi::Value spent(const Napi::CallbackInfo& info);
  void cancel(const Napi::CallbackInfo& info);

  // Touched by side jobs alone, which come one after another, but for the time.
  struct Speech {
    int64_t sample_rate = 0;
    core::Stopped stopped;
    std::optional<engine::Enhancer> enhancer;
    std::atomic<double> milliseconds{0};

    engine::Enhancer& on(const engine::SpeechModel& model);
    at::Tensor timed(const std::function<at::Tensor()>& work);
  };

  std::shared_ptr<Host> host_;
  std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<Speech> speech_;
};

}  // namespace metavoice::binding
