// `copyTensors` of the Door.
#pragma once

#include <napi.h>

namespace metavoice::loader {

void register_copy(Napi::Env env, Napi::Object exports);

}  // namespace metavoice::loader
