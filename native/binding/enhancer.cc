#include "binding/enhancer.h"

#include <chrono>

#include "binding/values.h"
#include "engine/health.h"

namespace metavoice::binding {

namespace {

Napi::Value floats_answer(Napi::Env env, const at::Tensor& samples) { return floats_to_js(env, samples); }

}  // namespace

Napi::Function EnhancerObject::define(Napi::Env env) {
  return DefineClass(env, "NativeEnhancer",
                     {InstanceMethod<&EnhancerObject::push>("push"), InstanceMethod<&EnhancerObject::finish>("finish"),
                      InstanceMethod<&EnhancerObject::spent>("spent"), InstanceMethod<&EnhancerObject::cancel>("cancel")});
}

EnhancerObject::EnhancerObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<EnhancerObject>(info) {
  if (info.Length() != 1 || !info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "a NativeEnhancer is made by NativeModel.enhancer()");
  const auto* start = info[0].As<Napi::External<Start>>().Data();
  host_ = start->host;
  speech_ = std::make_shared<Speech>();
  speech_->sample_rate = start->sample_rate;
  speech_->stopped = host_->stopped_by(cancelled_);
}

engine::Enhancer& EnhancerObject::Speech::on(const engine::SpeechModel& model) {
  if (!enhancer) enhancer.emplace(model.enhancer(), sample_rate, stopped);
  return *enhancer;
}

at::Tensor EnhancerObject::Speech::timed(const std::function<at::Tensor()>& work) {
  const auto start = std::chrono::steady_clock::now();
  at::Tensor result = work();
  milliseconds = milliseconds + std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return result;
}

Napi::Value EnhancerObject::push(const Napi::CallbackInfo& info) {
  const at::Tensor samples = floats_of(info[0], "samples");
  return host_->run_beside(
      info.Env(),
      [samples, speech = speech_](const engine::SpeechModel& model) {
        return engine::require_finite(speech->timed([&] { return speech->on(model).push(samples); }), "enhancer");
      },
      floats_answer);
}

Napi::Value EnhancerObject::finish(const Napi::CallbackInfo& info) {
  return host_->run_beside(
      info.Env(),
      [speech = speech_](const engine::SpeechModel& model) {
        const at::Tensor rest = speech->timed([&] { return speech->on(model).finish(); });
        speech->enhancer.reset();  // nobody waits for the garbage collector
        return engine::require_finite(rest, "enhancer");
      },
      floats_answer);
}

Napi::Value EnhancerObject::spent(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), speech_->milliseconds); }

void EnhancerObject::cancel(const Napi::CallbackInfo&) { *cancelled_ = true; }

}  // namespace metavoice::binding
