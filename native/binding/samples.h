// NativeSamples of lib/native/contract.ts: a long recording on its way to the engine thread, copied piece by piece so that
// no turn of the event loop pays for all of it.
#pragma once

#include <ATen/core/Tensor.h>
#include <napi.h>

namespace metavoice::binding {

class SamplesObject : public Napi::ObjectWrap<SamplesObject> {
 public:
  static Napi::Function define(Napi::Env env);

  // Made by NativeModel.reserve(length).
  explicit SamplesObject(const Napi::CallbackInfo& info);

  const at::Tensor& tensor() const { return samples_; }  // [length] float32

 private:
  void write(const Napi::CallbackInfo& info);  // (offset, Float32Array)

  at::Tensor samples_;
};

}  // namespace metavoice::binding
