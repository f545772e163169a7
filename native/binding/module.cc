// The Engine of lib/native/contract.ts. The door calls metavoice_register() once per environment.

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <napi.h>
#include <torch/headeronly/version.h>

#include <string>

#include "binding/enhancer.h"
#include "binding/leveller.h"
#include "binding/model.h"
#include "binding/samples.h"
#include "binding/utterance.h"
#include "binding/values.h"
#include "ops/sampling.h"

namespace metavoice::binding {

namespace {

Napi::Value load_model(const Napi::CallbackInfo& info, const std::shared_ptr<Classes>& classes,
                       const std::shared_ptr<Residents>& residents) {
  engine::ModelDescription description = description_of(object_of(info[0], "description"));
  const std::shared_ptr<Host> host = Host::create(info.Env(), residents, {description.batch_size, description.max_queue, description.rows, description.positions, description.deterministic});
  return host->load(info.Env(), std::move(description), [classes](Napi::Env env, const std::shared_ptr<Host>& loaded) -> Napi::Value {
    ModelObject::Start start{loaded, classes};
    return classes->model.New({Napi::External<ModelObject::Start>::New(env, &start)});
  });
}

Napi::Value sample_distribution(const Napi::CallbackInfo& info) {
  const at::Tensor logits = floats_of(info[0], "logits");
  const Napi::Object settings = object_of(info[1], "settings");
  if (logits.numel() == 0) throw Napi::TypeError::New(info.Env(), "expected at least one entry for `logits`");
  ops::SamplingSettings sampling;
  sampling.temperature = static_cast<float>(number_of(settings.Get("temperature"), "temperature"));
  sampling.top_p = static_cast<float>(number_of(settings.Get("topP"), "topP"));
  sampling.top_k = integer_of(settings.Get("topK"), "topK");
  const float* data = logits.data_ptr<float>();
  const std::vector<float> result = ops::distribution({data, data + logits.numel()}, sampling);
  return floats_to_js(info.Env(), result.data(), result.size());
}

// Architectures that the libtorch in this process has code for, as its configuration text names them: sm_75 …
Napi::Array architectures(Napi::Env env) {
  const Napi::Array result = Napi::Array::New(env);
  if (!at::hasCUDA()) return result;
  const std::string text = at::show_config();
  const std::string mark = "code=";
  uint32_t count = 0;
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const size_t start = at + mark.size(), end = text.find_first_of(";, \n", start);
    result.Set(count++, text.substr(start, end - start));
  }
  return result;
}

Napi::Value cuda(const Napi::CallbackInfo& info) {
  const Napi::Object result = Napi::Object::New(info.Env());
  result.Set("available", at::hasCUDA());
  result.Set("architectures", architectures(info.Env()));
  return result;
}

void stop_at_exit(Napi::Env env, const std::shared_ptr<Residents>& residents) {
  const Napi::Object process = env.Global().Get("process").As<Napi::Object>();
  const auto stop = Napi::Function::New(env, [residents](const Napi::CallbackInfo&) { residents->stop(); }, "stopMetavoice");
  process.Get("on").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), stop});
}

void define_engine(Napi::Env env, Napi::Object exports) {
  const auto residents = std::make_shared<Residents>();
  stop_at_exit(env, residents);
  const auto classes = std::make_shared<Classes>();
  classes->model = Napi::Persistent(ModelObject::define(env));
  classes->utterance = Napi::Persistent(UtteranceObject::define(env));
  classes->samples = Napi::Persistent(SamplesObject::define(env));
  classes->enhancer = Napi::Persistent(EnhancerObject::define(env));
  classes->leveller = Napi::Persistent(LevellerObject::define(env));
  // The references die with the functions that hold them, which the environment may outlive.
  classes->model.SuppressDestruct();
  classes->utterance.SuppressDestruct();
  classes->samples.SuppressDestruct();
  classes->enhancer.SuppressDestruct();
  classes->leveller.SuppressDestruct();
  exports.Set("libtorchVersion", Napi::String::New(env, TORCH_VERSION));
  exports.Set("threads", Napi::Number::New(env, at::get_num_threads()));
  exports.Set("cuda", Napi::Function::New(env, cuda, "cuda"));
  exports.Set("loadModel", Napi::Function::New(
                               env,
                               [classes, residents](const Napi::CallbackInfo& info) { return load_model(info, classes, residents); },
                               "loadModel"));
  exports.Set("sampleDistribution", Napi::Function::New(env, sample_distribution, "sampleDistribution"));
}

}  // namespace

}  // namespace metavoice::binding

#if defined(_WIN32)
#define METAVOICE_EXPORT extern "C" __declspec(dllexport)
#else
#define METAVOICE_EXPORT extern "C" __attribute__((visibility("default")))
#endif

METAVOICE_EXPORT napi_value metavoice_register(napi_env env, napi_value exports) {
  try {
    metavoice::binding::define_engine(Napi::Env(env), Napi::Object(env, exports));
    return exports;
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
    return nullptr;
  }
}
