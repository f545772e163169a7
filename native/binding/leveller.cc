#include "binding/leveller.h"

#include "binding/values.h"

namespace metavoice::binding {

Napi::Function LevellerObject::define(Napi::Env env) {
  return DefineClass(env, "NativeLeveller", {InstanceMethod<&LevellerObject::push>("push")});
}

LevellerObject::LevellerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<LevellerObject>(info) {
  if (info.Length() != 1 || !info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "a NativeLeveller is made by NativeModel.leveller()");
  const auto* start = info[0].As<Napi::External<Start>>().Data();
  host_ = start->host;
  target_ = start->target;
  opening_ = start->opening;
}

Napi::Value LevellerObject::push(const Napi::CallbackInfo& info) {
  const at::Tensor samples = floats_of(info[0], "samples");
  return host_->run_beside(
      info.Env(),
      [samples, state = state_, target = target_, opening = opening_](const engine::SpeechModel& model) {
        if (!*state) state->emplace(model.codec().sample_rate(), target, opening);
        return ops::normalize_loudness(samples, **state);
      },
      [](Napi::Env env, const at::Tensor& levelled) -> Napi::Value { return floats_to_js(env, levelled); });
}

}  // namespace metavoice::binding
