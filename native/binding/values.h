// Between JavaScript values and ours. TypeScript has judged the arguments; what is checked here guards memory.
#pragma once

#include <ATen/ATen.h>
#include <napi.h>

#include <string>
#include <vector>

#include "core/error.h"

namespace metavoice::binding {

Napi::Error js_error(Napi::Env env, const core::Error& error);

std::string string_of(const Napi::Value& value, const char* name);
int64_t integer_of(const Napi::Value& value, const char* name);
double number_of(const Napi::Value& value, const char* name);
bool boolean_of(const Napi::Value& value, const char* name);
Napi::Object object_of(const Napi::Value& value, const char* name);

std::vector<int64_t> integers_of(const Napi::Value& value, const char* name);  // Int32Array
at::Tensor floats_of(const Napi::Value& value, const char* name);              // Float32Array -> [n] float32, a copy
at::Tensor ids_of(const Napi::Value& value, const char* name);                 // Int32Array -> [n] int64
at::Tensor codes_of(const Napi::Value& value, int64_t rows, const char* name); // Uint16Array -> [rows, n / rows] int64

Napi::Float32Array floats_to_js(Napi::Env env, const float* data, size_t count);
Napi::Float32Array floats_to_js(Napi::Env env, const at::Tensor& tensor);  // float32 on the host
Napi::Uint16Array codes_to_js(Napi::Env env, const at::Tensor& codes);     // int64 on the host
Napi::Uint16Array codes_to_js(Napi::Env env, const std::vector<uint16_t>& codes);

}  // namespace metavoice::binding
