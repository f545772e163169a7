#include "binding/samples.h"

#include <ATen/ATen.h>

#include "binding/values.h"

namespace metavoice::binding {

Napi::Function SamplesObject::define(Napi::Env env) {
  return DefineClass(env, "NativeSamples", {InstanceMethod<&SamplesObject::write>("write")});
}

SamplesObject::SamplesObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SamplesObject>(info) {
  const int64_t length = integer_of(info[0], "length");
  if (length < 0) throw Napi::TypeError::New(info.Env(), "expected a length of at least 0");
  try {
    samples_ = at::zeros({length}, at::kFloat);
  } catch (...) {
    throw js_error(info.Env(), core::translate(std::current_exception()));
  }
}

void SamplesObject::write(const Napi::CallbackInfo& info) {
  const int64_t offset = integer_of(info[0], "offset");
  const at::Tensor piece = floats_of(info[1], "piece");
  if (offset < 0 || offset > samples_.size(0) - piece.size(0))
    throw Napi::TypeError::New(info.Env(), "expected a piece inside the reserved samples");
  samples_.narrow(0, offset, piece.size(0)).copy_(piece);
}

}  // namespace metavoice::binding
