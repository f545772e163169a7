#include "binding/utterance.h"

#include "binding/values.h"

namespace metavoice::binding {

namespace {

Napi::Object timings_to_js(Napi::Env env, const engine::Timings& timings) {
  const Napi::Object result = Napi::Object::New(env);
  result.Set("prefill", timings.prefill);
  result.Set("firstStage", timings.first_stage);
  result.Set("secondStage", timings.second_stage);
  result.Set("decoder", timings.decoder);
  result.Set("steps", static_cast<double>(timings.steps));
  return result;
}

Napi::Object health_to_js(Napi::Env env, const engine::Health& health) {
  const Napi::Object result = Napi::Object::New(env);
  result.Set("redoneSteps", static_cast<double>(health.redone_steps));
  result.Set("redoneWindows", static_cast<double>(health.redone_windows));
  return result;
}

Napi::Value end_reason_to_js(Napi::Env env, engine::EndReason reason) {
  switch (reason) {
    case engine::EndReason::end: return Napi::String::New(env, "end");
    case engine::EndReason::limit: return Napi::String::New(env, "limit");
    case engine::EndReason::none: break;
  }
  return env.Null();
}

Napi::Object chunk_to_js(Napi::Env env, const engine::Chunk& chunk) {
  const Napi::Object result = Napi::Object::New(env);
  result.Set("samples", floats_to_js(env, chunk.samples.data(), chunk.samples.size()));
  result.Set("decoded", chunk.decoded.empty() ? env.Null() : floats_to_js(env, chunk.decoded.data(), chunk.decoded.size()));
  result.Set("codes", codes_to_js(env, chunk.codes));
  result.Set("frames", static_cast<double>(chunk.frames));
  result.Set("firstFrame", static_cast<double>(chunk.first_frame));
  result.Set("endReason", end_reason_to_js(env, chunk.end_reason));
  result.Set("timings", timings_to_js(env, chunk.timings));
  result.Set("health", health_to_js(env, chunk.health));
  return result;
}

}  // namespace

engine::UtteranceRequest request_of(const Napi::Object& value) {
  engine::UtteranceRequest request;
  const Napi::Object sampling = object_of(value.Get("sampling"), "sampling");
  const Napi::Object guidance = object_of(sampling.Get("guidance"), "sampling.guidance");
  engine::CoarseRequest& coarse = request.coarse;
  coarse.text = integers_of(value.Get("firstStageIds"), "firstStageIds");
  coarse.context = codes_of(value.Get("context"), 2, "context");
  coarse.speaker = floats_of(value.Get("speaker"), "speaker");
  coarse.guidance.speaker = static_cast<float>(number_of(guidance.Get("speaker"), "sampling.guidance.speaker"));
  coarse.guidance.prompt = static_cast<float>(number_of(guidance.Get("prompt"), "sampling.guidance.prompt"));
  coarse.sampling.temperature = static_cast<float>(number_of(sampling.Get("temperature"), "sampling.temperature"));
  coarse.sampling.top_p = static_cast<float>(number_of(sampling.Get("topP"), "sampling.topP"));
  coarse.sampling.top_k = integer_of(sampling.Get("topK"), "sampling.topK");
  coarse.constrain = boolean_of(sampling.Get("constrain"), "sampling.constrain");
  coarse.random.seed = static_cast<uint64_t>(integer_of(value.Get("seed"), "seed"));
  coarse.random.segment = static_cast<uint32_t>(integer_of(value.Get("segment"), "segment"));
  coarse.random.attempt = static_cast<uint32_t>(integer_of(value.Get("attempt"), "attempt"));
  coarse.maximum_frames = integer_of(value.Get("maximumFrames"), "maximumFrames");
  request.second_stage_text = integers_of(value.Get("secondStageIds"), "secondStageIds");
  request.chunk_ends = integers_of(value.Get("chunkEnds"), "chunkEnds");
  request.look_ahead = integer_of(value.Get("lookAhead"), "lookAhead");
  request.whole = boolean_of(value.Get("whole"), "whole");
  request.diffusion_steps = integer_of(value.Get("diffusionSteps"), "diffusionSteps");
  if (const Napi::Value loudness = value.Get("loudness"); !loudness.IsNull()) request.loudness = number_of(loudness, "loudness");
  request.waiting_chunks = integer_of(value.Get("waitingChunks"), "waitingChunks");
  request.likely_frames = integer_of(value.Get("likelyFrames"), "likelyFrames");
  return request;
}

Napi::Function UtteranceObject::define(Napi::Env env) {
  return DefineClass(env, "NativeUtterance",
                     {InstanceMethod<&UtteranceObject::next>("next"), InstanceMethod<&UtteranceObject::cancel>("cancel")});
}

UtteranceObject::UtteranceObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<UtteranceObject>(info), link_(std::make_shared<Link>(Link{this})) {
  if (info.Length() != 1 || !info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "a NativeUtterance is made by NativeModel.start()");
  auto* start = info[0].As<Napi::External<Start>>().Data();
  host_ = start->host;
  const auto notify = [mailbox = host_->mailbox(), link = link_] {
    mailbox->post([link](Napi::Env env) {
      if (link->object != nullptr) link->object->settle(env);
    });
  };
  utterance_ = std::make_shared<engine::Utterance>(host_->model(), std::move(start->request), notify);
  try {
    host_->scheduler().add(utterance_);
  } catch (const core::Error& error) {
    throw js_error(info.Env(), error);
  }
  host_->enrol(this);
}

UtteranceObject::~UtteranceObject() {
  link_->object = nullptr;
  if (!host_) return;
  host_->dismiss(this);
  utterance_->cancel();
  host_->scheduler().wake();
}

Napi::Value UtteranceObject::next(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (waiting_) throw js_error(env, core::Error("ERR_INTERNAL", "expected one call of next() at a time"));
  // While somebody waits, neither this object nor the event loop may go.
  waiting_ = host_->begin(env);
  Ref();
  const Napi::Promise promise = waiting_->deferred.Promise();
  if (failed_ || host_->disposed()) fail(env, disposed_error());
  else settle(env);
  return promise;
}

void UtteranceObject::settle(Napi::Env env) {
  if (!waiting_) return;
  std::optional<engine::Utterance::Outcome> outcome = utterance_->take();
  if (!outcome) return;
  host_->scheduler().wake();  // there is room for another chunk
  answer(env, std::move(*outcome));
}

void UtteranceObject::answer(Napi::Env env, engine::Utterance::Outcome outcome) {
  const std::shared_ptr<Task> task = stop_waiting();
  if (!task) return;
  if (outcome.failure) task->deferred.Reject(js_error(env, core::translate(outcome.failure)).Value());
  else if (outcome.chunk) task->deferred.Resolve(chunk_to_js(env, *outcome.chunk));
  else task->deferred.Resolve(env.Null());
}

std::shared_ptr<Task> UtteranceObject::stop_waiting() {
  const std::shared_ptr<Task> task = std::move(waiting_);
  if (!task) return nullptr;
  Unref();
  return host_->finish(task) ? task : nullptr;
}

void UtteranceObject::cancel(const Napi::CallbackInfo& info) {
  utterance_->cancel();
  host_->scheduler().wake();
  answer(info.Env(), {});
}

void UtteranceObject::fail(Napi::Env env, const core::Error& error) {
  failed_ = true;
  utterance_->cancel();
  if (const std::shared_ptr<Task> task = stop_waiting()) task->deferred.Reject(js_error(env, error).Value());
}

}  // namespace metavoice::binding
