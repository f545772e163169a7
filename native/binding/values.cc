#include "binding/values.h"

#include <algorithm>
#include <cstring>

namespace metavoice::binding {

namespace {

[[noreturn]] void refuse(Napi::Env env, const char* what, const char* name) {
  throw Napi::TypeError::New(env, std::string("expected ") + what + " for `" + name + "`");
}

// A typed array of exactly this element type.
template <class Array>
Array array_of(const Napi::Value& value, napi_typedarray_type type, const char* what, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) refuse(value.Env(), what, name);
  return value.As<Array>();
}

}  // namespace

Napi::Error js_error(Napi::Env env, const core::Error& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  result.Set("code", Napi::String::New(env, error.code()));
  const Napi::Object details = Napi::Object::New(env);
  for (const auto& [name, value] : error.details()) details.Set(name, value);
  result.Set("details", details);
  return result;
}

std::string string_of(const Napi::Value& value, const char* name) {
  if (!value.IsString()) refuse(value.Env(), "a string", name);
  return value.As<Napi::String>().Utf8Value();
}

int64_t integer_of(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) refuse(value.Env(), "an integer", name);
  return value.As<Napi::Number>().Int64Value();
}

double number_of(const Napi::Value& value, const char* name) {
  if (!value.IsNumber()) refuse(value.Env(), "a number", name);
  return value.As<Napi::Number>().DoubleValue();
}

bool boolean_of(const Napi::Value& value, const char* name) {
  if (!value.IsBoolean()) refuse(value.Env(), "a boolean", name);
  return value.As<Napi::Boolean>().Value();
}

Napi::Object object_of(const Napi::Value& value, const char* name) {
  if (!value.IsObject()) refuse(value.Env(), "an object", name);
  return value.As<Napi::Object>();
}

std::vector<int64_t> integers_of(const Napi::Value& value, const char* name) {
  const auto array = array_of<Napi::Int32Array>(value, napi_int32_array, "an Int32Array", name);
  return {array.Data(), array.Data() + array.ElementLength()};
}

at::Tensor floats_of(const Napi::Value& value, const char* name) {
  const auto array = array_of<Napi::Float32Array>(value, napi_float32_array, "a Float32Array", name);
  at::Tensor result = at::empty({static_cast<int64_t>(array.ElementLength())}, at::kFloat);
  if (array.ElementLength() > 0) std::memcpy(result.data_ptr<float>(), array.Data(), array.ElementLength() * sizeof(float));
  return result;
}

at::Tensor ids_of(const Napi::Value& value, const char* name) { return at::tensor(integers_of(value, name), at::kLong); }

at::Tensor codes_of(const Napi::Value& value, int64_t rows, const char* name) {
  const auto array = array_of<Napi::Uint16Array>(value, napi_uint16_array, "a Uint16Array", name);
  const auto count = static_cast<int64_t>(array.ElementLength());
  if (count % rows != 0) refuse(value.Env(), "codes of every codebook", name);
  at::Tensor result = at::empty({rows, count / rows}, at::kLong);
  std::copy(array.Data(), array.Data() + count, result.data_ptr<int64_t>());
  return result;
}

Napi::Float32Array floats_to_js(Napi::Env env, const float* data, size_t count) {
  Napi::Float32Array result = Napi::Float32Array::New(env, count);
  if (count > 0) std::memcpy(result.Data(), data, count * sizeof(float));
  return result;
}

Napi::Float32Array floats_to_js(Napi::Env env, const at::Tensor& tensor) {
  const at::Tensor contiguous = tensor.contiguous();
  return floats_to_js(env, contiguous.data_ptr<float>(), static_cast<size_t>(contiguous.numel()));
}

Napi::Uint16Array codes_to_js(Napi::Env env, const at::Tensor& codes) {
  const at::Tensor contiguous = codes.contiguous();
  const int64_t* data = contiguous.data_ptr<int64_t>();
  Napi::Uint16Array result = Napi::Uint16Array::New(env, static_cast<size_t>(contiguous.numel()));
  std::transform(data, data + contiguous.numel(), result.Data(), [](int64_t code) { return static_cast<uint16_t>(code); });
  return result;
}

Napi::Uint16Array codes_to_js(Napi::Env env, const std::vector<uint16_t>& codes) {
  Napi::Uint16Array result = Napi::Uint16Array::New(env, codes.size());
  std::copy(codes.begin(), codes.end(), result.Data());
  return result;
}

}  // namespace metavoice::binding
