#include "binding/model.h"

#include "binding/enhancer.h"
#include "binding/leveller.h"
#include "binding/samples.h"
#include "binding/utterance.h"
#include "binding/values.h"
#include "core/device_memory.h"
#include "engine/stages.h"
#include "engine/step_times.h"
#include "engine/windowed_diffusion.h"
#include "ops/read_bandwidth.h"

namespace metavoice::binding {

namespace {

Napi::Object read_facts(Napi::Env env, const engine::SpeechModel& model) {
  const Napi::Object facts = Napi::Object::New(env);
  const auto set = [&](const char* name, bool there, auto value) {
    facts.Set(name, there ? Napi::Value(Napi::Number::New(env, static_cast<double>(there ? value() : 0))) : env.Null());
  };
  const bool codec = model.has_codec();
  set("sampleRate", codec, [&] { return model.codec().sample_rate(); });
  set("hop", codec, [&] { return model.codec().hop(); });
  set("codebooks", codec, [&] { return model.codec().codebooks(); });
  set("firstFrames", codec, [&] { return model.codec().first_frames(); });
  set("diffusionContext", codec && model.diffusion_bands() > 0, [&] { return engine::WindowSizes::of(model.codec()).context; });
  set("firstStageWindow", model.has_first_stage(), [&] { return model.first_stage().window(); });
  set("secondStageWindow", model.has_second_stage(), [&] { return model.second_stage().window(); });
  const bool encoder = model.has_speaker_encoder();
  set("speakerEmbedding", encoder || model.has_first_stage(),
      [&] { return encoder ? model.speaker_encoder().width() : model.first_stage().speaker_width(); });
  facts.Set("weightBytes", static_cast<double>(model.weight_bytes()));
  const std::optional<core::Error>& refused = model.refused_enhancer();
  facts.Set("refusedEnhancer", refused ? js_error(env, *refused).Value() : env.Null());
  return facts;
}

Napi::Object statistics_to_js(Napi::Env env, const engine::Snapshot& now) {
  const Napi::Object result = Napi::Object::New(env);
  const auto set = [&](const char* name, auto value) { result.Set(name, static_cast<double>(value)); };
  set("active", now.active);
  set("resting", now.resting);
  set("parked", now.parked);
  set("queued", now.queued);
  set("pages", now.pages);
  set("usedPages", now.used_pages);
  set("pageBytes", now.page_bytes);
  set("peakActive", now.peak_active);
  set("peakQueued", now.peak_queued);
  set("peakUsedPages", now.peak_used_pages);
  set("ended", now.ended);
  set("cancelled", now.cancelled);
  set("failed", now.failed);
  set("refused", now.refused);
  set("batchSteps", now.batch_steps);
  set("steps", now.steps);
  set("audioSeconds", now.audio_seconds);
  set("batchStepsPerSecond", now.batch_steps_per_second);
  set("audioSecondsPerSecond", now.audio_seconds_per_second);
  return result;
}

Napi::Value floats_answer(Napi::Env env, const at::Tensor& tensor) { return floats_to_js(env, tensor); }

}  // namespace

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(env, "NativeModel",
                     {InstanceAccessor<&ModelObject::facts>("facts"), InstanceMethod<&ModelObject::start>("start"),
                      InstanceMethod<&ModelObject::reserve>("reserve"),
                      InstanceMethod<&ModelObject::embed_speaker>("embedSpeaker"),
                      InstanceMethod<&ModelObject::first_stage_logits>("firstStageLogits"),
                      InstanceMethod<&ModelObject::first_stage_greedy>("firstStageGreedy"),
                      InstanceMethod<&ModelObject::second_stage_logits>("secondStageLogits"),
                      InstanceMethod<&ModelObject::encode>("encode"), InstanceMethod<&ModelObject::decode>("decode"),
                      InstanceMethod<&ModelObject::diffuse>("diffuse"),
                      InstanceMethod<&ModelObject::enhancer>("enhancer"), InstanceMethod<&ModelObject::leveller>("leveller"),
                      InstanceMethod<&ModelObject::enhance>("enhance"), InstanceMethod<&ModelObject::enhance_spectrum>("enhanceSpectrum"),
                      InstanceMethod<&ModelObject::read_bandwidth>("readBandwidth"),
                      InstanceMethod<&ModelObject::step_times>("stepTimes"),
                      InstanceMethod<&ModelObject::statistics>("statistics"),
                      InstanceMethod<&ModelObject::diffusion_loaded>("diffusionLoaded"),
                      InstanceMethod<&ModelObject::peak_device_bytes>("peakDeviceBytes"),
                      InstanceMethod<&ModelObject::dispose>("dispose")});
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<ModelObject>(info) {
  if (info.Length() != 1 || !info[0].IsExternal())
    throw Napi::TypeError::New(info.Env(), "a NativeModel is made by Engine.loadModel()");
  const auto* start = info[0].As<Napi::External<Start>>().Data();
  host_ = start->host;
  classes_ = start->classes;
  const engine::SpeechModel& model = *host_->model();
  if (model.has_codec()) codebooks_ = model.codec().codebooks();
  bands_ = model.diffusion_bands();
  facts_ = Napi::Persistent(read_facts(info.Env(), model));
}

Napi::Value ModelObject::facts(const Napi::CallbackInfo&) { return facts_.Value(); }

Napi::Value ModelObject::start(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (host_->disposed()) throw js_error(env, disposed_error());
  UtteranceObject::Start start{host_, request_of(object_of(info[0], "request"))};
  return classes_->utterance.New({Napi::External<UtteranceObject::Start>::New(env, &start)});
}

Napi::Value ModelObject::statistics(const Napi::CallbackInfo& info) {
  return statistics_to_js(info.Env(), host_->scheduler().statistics());
}

// Once it is disposed of, the engine thread lets go of the model.
Napi::Value ModelObject::diffusion_loaded(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), !host_->disposed() && host_->model()->diffusion_loaded());
}

Napi::Value ModelObject::reserve(const Napi::CallbackInfo& info) { return classes_->samples.New({info[0]}); }

at::Tensor ModelObject::samples_of(const Napi::Value& value) const {
  if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(classes_->samples.Value())) return floats_of(value, "samples");
  return SamplesObject::Unwrap(value.As<Napi::Object>())->tensor();
}

Napi::Value ModelObject::embed_speaker(const Napi::CallbackInfo& info) {
  const at::Tensor samples = samples_of(info[0]);
  const int64_t rate = integer_of(info[1], "sampleRate");
  return host_->run(
      info.Env(), [samples, rate](const engine::SpeechModel& model) { return engine::embed_speaker(model, samples, rate); },
      [](Napi::Env env, const engine::EmbeddedSpeaker& speaker) -> Napi::Value {
        const Napi::Object result = Napi::Object::New(env);
        const Napi::Array trim = Napi::Array::New(env, 2);
        trim.Set(uint32_t{0}, static_cast<double>(speaker.trim_start));
        trim.Set(uint32_t{1}, static_cast<double>(speaker.trim_end));
        result.Set("embedding", floats_to_js(env, speaker.embedding));
        result.Set("trim", trim);
        result.Set("samples16k", static_cast<double>(speaker.samples));
        return result;
      });
}

Napi::Value ModelObject::first_stage_logits(const Napi::CallbackInfo& info) {
  const at::Tensor ids = ids_of(info[0], "ids"), speaker = floats_of(info[1], "speaker");
  const int64_t prompt = integer_of(info[2], "prompt");
  return host_->run(
      info.Env(), [=](const engine::SpeechModel& model) { return engine::first_stage_logits(model, ids, speaker, prompt); },
      floats_answer);
}

Napi::Value ModelObject::first_stage_greedy(const Napi::CallbackInfo& info) {
  const at::Tensor ids = ids_of(info[0], "ids"), speaker = floats_of(info[1], "speaker");
  const auto guidance = static_cast<float>(number_of(info[2], "guidance"));
  const int64_t steps = integer_of(info[3], "steps");
  return host_->run(
      info.Env(),
      [=](const engine::SpeechModel& model) { return engine::first_stage_greedy(model, ids, speaker, guidance, steps); },
      [](Napi::Env env, const std::vector<int32_t>& found) -> Napi::Value {
        Napi::Int32Array result = Napi::Int32Array::New(env, found.size());
        std::copy(found.begin(), found.end(), result.Data());
        return result;
      });
}

Napi::Value ModelObject::second_stage_logits(const Napi::CallbackInfo& info) {
  const at::Tensor ids = ids_of(info[0], "ids"), codes = codes_of(info[1], 2, "codes"), speaker = floats_of(info[2], "speaker");
  return host_->run(
      info.Env(),
      [=](const engine::SpeechModel& model) { return engine::second_stage_logits(model, ids, codes, speaker); }, floats_answer);
}

Napi::Value ModelObject::encode(const Napi::CallbackInfo& info) {
  const at::Tensor samples = samples_of(info[0]);
  const int64_t rate = integer_of(info[1], "sampleRate");
  return host_->run(
      info.Env(), [=](const engine::SpeechModel& model) { return engine::encode(model, samples, rate); },
      [](Napi::Env env, const at::Tensor& codes) -> Napi::Value {
        const Napi::Object result = Napi::Object::New(env);
        result.Set("codes", codes_to_js(env, codes));
        result.Set("frames", static_cast<double>(codes.size(1)));
        return result;
      });
}

Napi::Value ModelObject::decode(const Napi::CallbackInfo& info) {
  const at::Tensor codes = codes_of(info[0], std::max<int64_t>(1, codebooks_), "codes");
  const std::vector<int64_t> pieces = info[1].IsNull() || info[1].IsUndefined() ? std::vector<int64_t>{} : integers_of(info[1], "pieces");
  return host_->run(
      info.Env(), [=](const engine::SpeechModel& model) { return engine::decode(model, codes, pieces); }, floats_answer);
}

Napi::Value ModelObject::diffuse(const Napi::CallbackInfo& info) {
  const at::Tensor codes = codes_of(info[0], std::max<int64_t>(1, codebooks_), "codes");
  const auto seed = static_cast<uint64_t>(integer_of(info[1], "seed"));
  const int64_t steps = integer_of(info[3], "steps");
  at::Tensor noise;
  if (!info[2].IsNull()) {
    const at::Tensor flat = samples_of(info[2]);
    const int64_t rows = std::max<int64_t>(1, bands_ * steps);
    if (flat.size(0) % rows != 0) throw Napi::TypeError::New(info.Env(), "expected `noise` for every band and step");
    noise = flat.view({std::max<int64_t>(1, bands_), -1, flat.size(0) / rows});
  }
  const std::vector<int64_t> ends = info[4].IsNull() ? std::vector<int64_t>{} : integers_of(info[4], "chunkEnds");
  return host_->run_stoppable(
      info.Env(),
      [=](const engine::SpeechModel& model, const core::Stopped& stopped) { return engine::diffuse(model, codes, seed, noise, steps, ends, stopped); },
      floats_answer);
}

Napi::Value ModelObject::enhancer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (host_->disposed()) throw js_error(env, disposed_error());
  EnhancerObject::Start start{host_, integer_of(info[0], "sampleRate")};
  return classes_->enhancer.New({Napi::External<EnhancerObject::Start>::New(env, &start)});
}

Napi::Value ModelObject::leveller(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (host_->disposed()) throw js_error(env, disposed_error());
  LevellerObject::Start start{host_, number_of(info[0], "loudness"), integer_of(info[1], "opening")};
  return classes_->leveller.New({Napi::External<LevellerObject::Start>::New(env, &start)});
}

Napi::Value ModelObject::enhance(const Napi::CallbackInfo& info) {
  const at::Tensor samples = samples_of(info[0]);
  const int64_t rate = integer_of(info[1], "sampleRate");
  return host_->run_stoppable(
      info.Env(), [=](const engine::SpeechModel& model, const core::Stopped& stopped) { return engine::enhance(model, samples, rate, stopped); },
      [](Napi::Env env, const engine::EnhancedSignal& enhanced) -> Napi::Value {
        const Napi::Object result = Napi::Object::New(env);
        result.Set("samples", floats_to_js(env, enhanced.samples));
        result.Set("sampleRate", static_cast<double>(enhanced.sample_rate));
        return result;
      });
}

Napi::Value ModelObject::enhance_spectrum(const Napi::CallbackInfo& info) {
  const at::Tensor spectrum = floats_of(info[0], "spec"), levels = floats_of(info[1], "featErb"), bins = floats_of(info[2], "featSpec");
  return host_->run_stoppable(
      info.Env(),
      [=](const engine::SpeechModel& model, const core::Stopped& stopped) { return engine::enhance_spectrum(model, spectrum, levels, bins, stopped); },
      [](Napi::Env env, const models::deep_filter::DeepFilter::Enhanced& enhanced) -> Napi::Value {
        const Napi::Object result = Napi::Object::New(env);
        result.Set("enhanced", floats_to_js(env, enhanced.spectrum));
        result.Set("mask", floats_to_js(env, enhanced.gains));
        return result;
      });
}

Napi::Value ModelObject::read_bandwidth(const Napi::CallbackInfo& info) {
  constexpr int64_t kBytes = int64_t{1} << 29;  // beyond any cache
  constexpr int kRounds = 5;
  return host_->run(
      info.Env(), [](const engine::SpeechModel& model) { return ops::read_bandwidth(kBytes, kRounds, model.device()); },
      [](Napi::Env env, double found) -> Napi::Value { return Napi::Number::New(env, found); });
}

Napi::Value ModelObject::step_times(const Napi::CallbackInfo& info) {
  const std::vector<int64_t> positions = integers_of(info[0], "positions");
  const int64_t steps = integer_of(info[1], "steps");
  const engine::StepPath path = boolean_of(info[2], "libtorchOnly") ? engine::StepPath::libtorch : engine::StepPath::own;
  return host_->run(
      info.Env(), [=](const engine::SpeechModel& model) { return engine::step_times(model, positions, steps, path); },
      [](Napi::Env env, const engine::StepTimes& found) -> Napi::Value {
        const Napi::Object result = Napi::Object::New(env);
        Napi::Float64Array seconds = Napi::Float64Array::New(env, found.seconds.size());
        std::copy(found.seconds.begin(), found.seconds.end(), seconds.Data());
        result.Set("seconds", seconds);
        result.Set("weightBytes", static_cast<double>(found.weight_bytes));
        result.Set("positionBytes", static_cast<double>(found.position_bytes));
        return result;
      });
}

Napi::Value ModelObject::peak_device_bytes(const Napi::CallbackInfo& info) {
  return host_->run(
      info.Env(), [](const engine::SpeechModel& model) { return core::peak_device_bytes(model.device()); },
      [](Napi::Env env, const std::optional<int64_t>& bytes) -> Napi::Value {
        return bytes ? Napi::Number::New(env, static_cast<double>(*bytes)) : env.Null();
      });
}

Napi::Value ModelObject::dispose(const Napi::CallbackInfo& info) { return host_->dispose(info.Env()); }

}  // namespace metavoice::binding
