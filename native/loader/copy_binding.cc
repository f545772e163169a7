#include "loader/copy_binding.h"

#include <atomic>
#include <cmath>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>

#include "loader/copy.h"

namespace metavoice::loader {

namespace {

// One copy under way: shared by the thread, by the queue to JavaScript and by `cancel`.
struct Running {
  explicit Running(Napi::Env env) : env(env), deferred(Napi::Promise::Deferred::New(env)) {}

  napi_env env;
  Napi::Promise::Deferred deferred;
  Napi::FunctionReference on_progress;
  napi_threadsafe_function queue = nullptr;
  std::thread thread;
  std::atomic<bool> cancelled{false};
  std::atomic<bool> told{false};  // progress waits in the queue
  std::atomic<uint64_t> bytes{0};
  // Written by the thread before it posts `kFinished`.
  std::optional<CopyError> failure;
  // Set when the listener threw: the copy then ends with that.
  std::optional<Napi::Error> thrown;
};

using Shared = std::shared_ptr<Running>;

void* const kProgress = nullptr;
void* const kFinished = reinterpret_cast<void*>(1);

// --------------------------------------------------------------------------------------- arguments

[[noreturn]] void refuse(Napi::Env env, const std::string& expected) {
  throw Napi::TypeError::New(env, "expected " + expected + " in the copy job");
}

std::string text(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  if (!value.IsString()) refuse(object.Env(), std::string("a string for `") + key + "`");
  return value.As<Napi::String>().Utf8Value();
}

uint64_t natural(const Napi::Value& value, const char* key) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > 9007199254740991.0 || number != std::floor(number))
    refuse(value.Env(), std::string("a non-negative integer for `") + key + "`");
  return static_cast<uint64_t>(number);
}

std::vector<uint64_t> naturals(const Napi::Value& value, const char* key) {
  if (!value.IsArray()) refuse(value.Env(), std::string("an array of integers for `") + key + "`");
  const auto array = value.As<Napi::Array>();
  std::vector<uint64_t> numbers(array.Length());
  for (uint32_t i = 0; i < array.Length(); ++i) numbers[i] = natural(array.Get(i), key);
  return numbers;
}

Number number(const Napi::Object& object, const char* key) {
  const auto type = number_named(text(object, key));
  if (!type) refuse(object.Env(), std::string("float64, float32, float16 or bfloat16 for `") + key + "`");
  return *type;
}

CopyJob job_from(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 1 || !info[0].IsObject()) refuse(env, "an object");
  const auto object = info[0].As<Napi::Object>();
  CopyJob job;
  job.destination = text(object, "destination");
  const Napi::Value pieces = object.Get("pieces");
  if (!pieces.IsArray()) refuse(env, "an array for `pieces`");
  const auto array = pieces.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::HandleScope scope(env);
    const Napi::Value value = array.Get(i);
    if (!value.IsObject()) refuse(env, "objects for `pieces`");
    const auto entry = value.As<Napi::Object>();
    CopyPiece piece;
    piece.name = text(entry, "name");
    piece.source = text(entry, "source");
    piece.source_offset = natural(entry.Get("sourceOffset"), "sourceOffset");
    piece.source_type = number(entry, "sourceDtype");
    piece.destination_offset = natural(entry.Get("destinationOffset"), "destinationOffset");
    piece.destination_type = number(entry, "destinationDtype");
    piece.shape = naturals(entry.Get("shape"), "shape");
    const Napi::Value strides = entry.Get("strides");
    if (!strides.IsNull() && !strides.IsUndefined() && !piece.shape.empty())
      piece.strides = naturals(strides, "strides");
    const Napi::Value crc32 = entry.Get("crc32");
    if (!crc32.IsNull() && !crc32.IsUndefined())
      piece.crc32 = static_cast<uint32_t>(natural(crc32, "crc32"));
    job.pieces.push_back(std::move(piece));
  }
  return job;
}

// --------------------------------------------------------------------------------------- the thread

void work(Running& running, const CopyJob& job) {
  try {
    copy_tensors(job, running.cancelled, [&running](uint64_t bytes) {
      running.bytes.store(bytes, std::memory_order_relaxed);
      if (!running.told.exchange(true)) napi_call_threadsafe_function(running.queue, kProgress, napi_tsfn_nonblocking);
    });
  } catch (const CopyError& error) {
    running.failure = error;
  } catch (const std::bad_alloc&) {
    running.failure = CopyError("ERR_OUT_OF_MEMORY", "no memory for the buffers of a copy");
  } catch (const std::exception& error) {
    running.failure = CopyError("ERR_INTERNAL", error.what());
  }
  napi_call_threadsafe_function(running.queue, kFinished, napi_tsfn_nonblocking);
  napi_release_threadsafe_function(running.queue, napi_tsfn_release);
}

// At the end of the environment the thread must not outlive it.
void on_teardown(void* data) {
  auto& running = *static_cast<Running*>(data);
  running.cancelled = true;
  if (running.thread.joinable()) running.thread.join();
}

// --------------------------------------------------------------------------------------- back on the event loop

Napi::Value error_value(Napi::Env env, const CopyError& failure) {
  Napi::Error error = Napi::Error::New(env, failure.what());
  error.Set("code", Napi::String::New(env, failure.code));
  Napi::Object details = Napi::Object::New(env);
  for (const auto& [key, value] : failure.details) details.Set(key, value);
  error.Set("details", details);
  return error.Value();
}

void tell_progress(Running& running, Napi::Env env) {
  running.told = false;
  if (running.on_progress.IsEmpty() || running.cancelled) return;
  try {
    running.on_progress.Call(
        {Napi::Number::New(env, static_cast<double>(running.bytes.load(std::memory_order_relaxed)))});
  } catch (const Napi::Error& error) {
    running.thrown = error;
    running.cancelled = true;
  }
}

void finish(Running& running, Napi::Env env) {
  if (running.thread.joinable()) running.thread.join();
  napi_remove_env_cleanup_hook(env, on_teardown, &running);
  if (!running.failure) {
    running.told = true;
    tell_progress(running, env);
  }
  if (running.thrown) running.deferred.Reject(running.thrown->Value());
  else if (running.failure) running.deferred.Reject(error_value(env, *running.failure));
  else running.deferred.Resolve(env.Undefined());
  running.on_progress.Reset();
  running.thrown.reset();
}

void on_message(napi_env env, napi_value, void* context, void* message) {
  if (env == nullptr) return;
  Running& running = **static_cast<Shared*>(context);
  const Napi::HandleScope scope(env);
  try {
    if (message == kFinished) finish(running, env);
    else tell_progress(running, env);
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  }
}

void on_queue_gone(napi_env, void*, void* context) { delete static_cast<Shared*>(context); }

// copyTensors(job, onProgress?) → { done, cancel() }
Napi::Value copy_tensors_of(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  CopyJob job = job_from(info);
  auto running = std::make_shared<Running>(env);
  if (info.Length() > 1 && info[1].IsFunction()) running->on_progress = Napi::Persistent(info[1].As<Napi::Function>());

  const napi_value name = Napi::String::New(env, "metavoice:copyTensors");
  auto* context = new Shared(running);
  const napi_status status = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, on_queue_gone,
                                                             context, on_message, &running->queue);
  if (status != napi_ok) {
    delete context;
    throw Napi::Error::New(env, "cannot make a queue for the copy");
  }
  // Added after the queue, so it runs before the queue's own end.
  napi_add_env_cleanup_hook(env, on_teardown, running.get());
  try {
    running->thread = std::thread([state = running.get(), job = std::move(job)] { work(*state, job); });
  } catch (const std::system_error& error) {
    napi_remove_env_cleanup_hook(env, on_teardown, running.get());
    napi_release_threadsafe_function(running->queue, napi_tsfn_release);
    throw Napi::Error::New(env, std::string("cannot start a thread for the copy: ") + error.what());
  }

  Napi::Object result = Napi::Object::New(env);
  result.Set("done", running->deferred.Promise());
  result.Set("cancel", Napi::Function::New(
                           env, [running](const Napi::CallbackInfo&) { running->cancelled = true; }, "cancel"));
  return result;
}

}  // namespace

void register_copy(Napi::Env env, Napi::Object exports) {
  exports.Set("copyTensors", Napi::Function::New(env, copy_tensors_of, "copyTensors"));
}

}  // namespace metavoice::loader
