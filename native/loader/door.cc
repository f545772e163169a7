// metavoice.node: facts about the machine, tensor copies between files, and the way to the engine. Free of torch, so
// that it loads everywhere and can say what is missing.
#include <napi.h>

#include <cstdlib>
#include <mutex>
#include <type_traits>

#include "loader/copy_binding.h"
#include "loader/facts.h"
#include "loader/libraries.h"

namespace metavoice::loader {
namespace {

Napi::Error runtime_not_found(Napi::Env env, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, "ERR_RUNTIME_NOT_FOUND"));
  return error;
}

Napi::Value bytes(Napi::Env env, std::uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

template <typename Value>
Napi::Value or_null(Napi::Env env, const std::optional<Value>& value) {
  if (!value) return env.Null();
  if constexpr (std::is_same_v<Value, std::string>) {
    return Napi::String::New(env, *value);
  } else {
    return Napi::Number::New(env, static_cast<double>(*value));
  }
}

Napi::Value cpu_facts_of(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const CpuFacts facts = cpu_facts();
  Napi::Object limits = Napi::Object::New(env);
  limits.Set("cpus", or_null(env, facts.limits.cpus));
  limits.Set("memory", or_null(env, facts.limits.memory));
  Napi::Array features = Napi::Array::New(env, facts.features.size());
  for (std::uint32_t i = 0; i < facts.features.size(); ++i) features.Set(i, facts.features[i]);
  Napi::Object result = Napi::Object::New(env);
  result.Set("name", facts.name);
  result.Set("cores", facts.cores);
  result.Set("physicalCores", facts.physical_cores);
  result.Set("totalMemory", bytes(env, facts.total_memory));
  result.Set("freeMemory", bytes(env, facts.free_memory));
  result.Set("limits", limits);
  result.Set("features", features);
  return result;
}

Napi::Object cuda_device(Napi::Env env, const CudaDevice& device) {
  Napi::Object entry = Napi::Object::New(env);
  entry.Set("index", device.index);
  entry.Set("name", device.name);
  entry.Set("computeCapability", device.compute_capability);
  entry.Set("totalMemory", bytes(env, device.total_memory));
  entry.Set("freeMemory", or_null(env, device.free_memory));
  entry.Set("multiprocessors", device.multiprocessors);
  entry.Set("mig", device.mig);
  entry.Set("integrated", device.integrated);
  return entry;
}

Napi::Value cuda_failure(Napi::Env env, const std::optional<CudaFailure>& failure) {
  if (!failure) return env.Null();
  Napi::Object entry = Napi::Object::New(env);
  entry.Set("code", failure->code);
  entry.Set("name", failure->name);
  return entry;
}

Napi::Value cuda_facts_of(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto facts = cuda_facts();
  if (!facts) return env.Null();
  Napi::Array devices = Napi::Array::New(env, facts->devices.size());
  for (std::uint32_t i = 0; i < facts->devices.size(); ++i) devices.Set(i, cuda_device(env, facts->devices[i]));
  Napi::Array listed = Napi::Array::New(env, facts->listed.size());
  for (std::uint32_t i = 0; i < facts->listed.size(); ++i) {
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("name", facts->listed[i].name);
    entry.Set("mig", facts->listed[i].mig);
    listed.Set(i, entry);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("driver", or_null(env, facts->driver));
  result.Set("driverCuda", or_null(env, facts->driver_cuda));
  result.Set("failure", cuda_failure(env, facts->failure));
  result.Set("visibleDevices", or_null(env, facts->visible_devices));
  result.Set("devices", devices);
  result.Set("listed", listed);
  return result;
}

std::vector<std::string> paths_from(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsArray()) {
    throw Napi::TypeError::New(env, "expected an array of paths for `libraries`");
  }
  const auto array = info[0].As<Napi::Array>();
  std::vector<std::string> paths;
  for (std::uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value path = array[i];
    if (!path.IsString()) throw Napi::TypeError::New(env, "expected an array of paths for `libraries`");
    paths.push_back(path.As<Napi::String>().Utf8Value());
  }
  return paths;
}

// Opening libtorch reads hundreds of megabytes from the disk, so it is done beside the event loop.
class OpeningLibraries : public Napi::AsyncWorker {
 public:
  OpeningLibraries(Napi::Env env, std::vector<std::string> paths)
      : Napi::AsyncWorker(env, "metavoice:openLibraries"), paths_(std::move(paths)), deferred_(env) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { open_libraries(paths_); }
  void OnOK() override { deferred_.Resolve(Env().Undefined()); }
  void OnError(const Napi::Error& error) override {
    deferred_.Reject(runtime_not_found(Env(), error.Message()).Value());
  }

 private:
  std::vector<std::string> paths_;
  Napi::Promise::Deferred deferred_;
};

Napi::Value open_libraries_of(const Napi::CallbackInfo& info) {
  auto* worker = new OpeningLibraries(info.Env(), paths_from(info));
  worker->Queue();
  return worker->promise();
}

// What the engine library exports: it fills `exports` for this environment and returns it.
using Register = napi_value (*)(napi_env env, napi_value exports);

Napi::Value open_engine(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::vector<std::string> libraries = paths_from(info);
  if (info.Length() < 2 || !info[1].IsString()) throw Napi::TypeError::New(env, "expected a path for `engine`");
  Register enter = nullptr;
  try {
    open_libraries(libraries);
    enter = reinterpret_cast<Register>(open_symbol(info[1].As<Napi::String>().Utf8Value(), "metavoice_register"));
  } catch (const OpenError& error) {
    throw runtime_not_found(env, error.what());
  }
  const napi_value engine = enter(env, Napi::Object::New(env));
  if (env.IsExceptionPending()) throw env.GetAndClearPendingException();
  if (engine == nullptr) throw runtime_not_found(env, "the engine of metavoice registered nothing");
  return Napi::Value(env, engine);
}

// OpenMP's threads spin between two operations unless told otherwise, which on a busy machine makes recurrent layers
// many times slower. libgomp reads this when it is opened, so it must be set before libtorch is.
// And oneDNN, inside libtorch, prints its errors to standard output, where speech may be on its way; they are thrown, too.
// It keeps 1,024 compiled operations, one for each length that a text or a piece of audio has had, of some 0.7 MB each in the
// bundled codec: a long text fills them slowly. So many are never in use at once.
void settle_libraries() {
  static std::once_flag once;
  std::call_once(once, [] {
    setenv("OMP_WAIT_POLICY", "PASSIVE", 0);
    setenv("ONEDNN_VERBOSE", "none", 0);
    setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64", 0);
  });
}

Napi::Object enter(Napi::Env env, Napi::Object exports) {
  settle_libraries();
  exports.Set("libtorchVersion", METAVOICE_LIBTORCH_VERSION);
  exports.Set("cpuFacts", Napi::Function::New(env, cpu_facts_of, "cpuFacts"));
  exports.Set("cudaFacts", Napi::Function::New(env, cuda_facts_of, "cudaFacts"));
  exports.Set("openLibraries", Napi::Function::New(env, open_libraries_of, "openLibraries"));
  exports.Set("openEngine", Napi::Function::New(env, open_engine, "openEngine"));
  register_copy(env, exports);
  return exports;
}

}  // namespace
}  // namespace metavoice::loader

static Napi::Object initialize(Napi::Env env, Napi::Object exports) { return metavoice::loader::enter(env, exports); }

NODE_API_MODULE(metavoice, initialize)
