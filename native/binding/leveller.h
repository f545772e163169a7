// NativeLeveller of lib/native/contract.ts: the running loudness of one speech, on the engine's thread for side jobs.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>

#include "binding/host.h"
#include "ops/running_loudness.h"

namespace metavoice::binding {

class LevellerObject : public Napi::ObjectWrap<LevellerObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // Made by NativeModel.leveller() only: (External<Start>).
  struct Start {
    std::shared_ptr<Host> host;
    double target;    // LKFS
    int64_t opening;  // samples
  };
  explicit LevellerObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value push(const Napi::CallbackInfo& info);

  std::shared_ptr<Host> host_;
  double target_ = 0;
  int64_t opening_ = 0;
  // Touched by side jobs alone, which come one after another.
  std::shared_ptr<std::optional<ops::RunningLoudness>> state_ = std::make_shared<std::optional<ops::RunningLoudness>>();
};

}  // namespace metavoice::binding
