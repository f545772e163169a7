// NativeModel of lib/native/contract.ts.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/host.h"

namespace metavoice::binding {

// The classes of one environment; a model carries them so that no instance data is needed.
struct Classes {
  Napi::FunctionReference model;
  Napi::FunctionReference utterance;
  Napi::FunctionReference samples;
  Napi::FunctionReference enhancer;
  Napi::FunctionReference leveller;
};

class ModelObject : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // Made by Engine.loadModel() only: (External<Start>).
  struct Start {
    std::shared_ptr<Host> host;
    std::shared_ptr<Classes> classes;
  };
  explicit ModelObject(const Napi::CallbackInfo& info);

 private:
  Napi::Value facts(const Napi::CallbackInfo& info);
  Napi::Value start(const Napi::CallbackInfo& info);
  Napi::Value statistics(const Napi::CallbackInfo& info);
  Napi::Value diffusion_loaded(const Napi::CallbackInfo& info);
  Napi::Value reserve(const Napi::CallbackInfo& info);
  Napi::Value embed_speaker(const Napi::CallbackInfo& info);
  Napi::Value first_stage_logits(const Napi::CallbackInfo& info);
  Napi::Value first_stage_greedy(const Napi::CallbackInfo& info);
  Napi::Value second_stage_logits(const Napi::CallbackInfo& info);
  Napi::Value encode(const Napi::CallbackInfo& info);
  Napi::Value decode(const Napi::CallbackInfo& info);
  Napi::Value diffuse(const Napi::CallbackInfo& info);
  Napi::Value enhancer(const Napi::CallbackInfo& info);
  Napi::Value leveller(const Napi::CallbackInfo& info);
  Napi::Value enhance(const Napi::CallbackInfo& info);
  Napi::Value enhance_spectrum(const Napi::CallbackInfo& info);
  Napi::Value read_bandwidth(const Napi::CallbackInfo& info);
  Napi::Value step_times(const Napi::CallbackInfo& info);
  Napi::Value peak_device_bytes(const Napi::CallbackInfo& info);
  Napi::Value dispose(const Napi::CallbackInfo& info);

  // A Float32Array, or what reserve() made of a long one.
  at::Tensor samples_of(const Napi::Value& value) const;

  std::shared_ptr<Host> host_;
  std::shared_ptr<Classes> classes_;
  Napi::ObjectReference facts_;
  int64_t codebooks_ = 0;  // of the codec; 0 without one
  int64_t bands_ = 0;      // of the diffusion decoder
};

engine::ModelDescription description_of(const Napi::Object& value);

}  // namespace metavoice::binding
