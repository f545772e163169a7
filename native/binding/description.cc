#include "binding/model.h"
#include "binding/values.h"

namespace metavoice::binding {

namespace {

at::ScalarType dtype_of(const Napi::Value& value) {
  const std::string name = string_of(value, "dtype");
  if (name == "float32") return at::kFloat;
  if (name == "float16") return at::kHalf;
  if (name == "bfloat16") return at::kBFloat16;
  throw Napi::TypeError::New(value.Env(), "expected float32, float16 or bfloat16 for `dtype` but received " + name);
}

core::Quantization quantization_of(const Napi::Value& value) {
  const std::string name = string_of(value, "quantization");
  if (name == "none") return core::Quantization::none;
  if (name == "int8") return core::Quantization::int8;
  if (name == "int4") return core::Quantization::int4;
  throw Napi::TypeError::New(value.Env(), "expected none, int8 or int4 for `quantization` but received " + name);
}

void read_transformer(const Napi::Object& value, models::TransformerConfig& config) {
  config.heads = integer_of(value.Get("heads"), "heads");
  config.norm = string_of(value.Get("norm"), "norm") == "layernorm" ? layers::NormKind::layer : layers::NormKind::rms;
  config.norm_epsilon = number_of(value.Get("normEpsilon"), "normEpsilon");
  config.activation =
      string_of(value.Get("activation"), "activation") == "gelu" ? layers::Activation::gelu : layers::Activation::swiglu;
}

models::diffusion::BandConfig band_of(const Napi::Object& value) {
  models::diffusion::BandConfig band;
  band.unet.stride = integer_of(value.Get("stride"), "stride");
  band.unet.norm_groups = integer_of(value.Get("normGroups"), "normGroups");
  const Napi::Object schedule = object_of(value.Get("schedule"), "schedule");
  band.schedule.beta_start = number_of(schedule.Get("betaStart"), "betaStart");
  band.schedule.beta_end = number_of(schedule.Get("betaEnd"), "betaEnd");
  band.schedule.exponent = number_of(schedule.Get("exponent"), "exponent");
  band.schedule.noise_scale = number_of(schedule.Get("noiseScale"), "noiseScale");
  const Napi::Value clip = schedule.Get("clip"), processor = value.Get("processor");
  if (!clip.IsNull()) band.schedule.clip = number_of(clip, "clip");
  if (processor.IsNull()) return band;
  const Napi::Object found = object_of(processor, "processor");
  band.processor = {integer_of(found.Get("bands"), "bands"), number_of(found.Get("power"), "power")};
  return band;
}

// run(item) for each item of an array.
template <class Run>
void each_of(const Napi::Object& value, const char* name, Run run) {
  const Napi::Value list = value.Get(name);
  if (!list.IsArray()) throw Napi::TypeError::New(value.Env(), std::string("expected an array for `") + name + "`");
  for (uint32_t i = 0; i < list.As<Napi::Array>().Length(); ++i) run(list.As<Napi::Array>().Get(i));
}

// A part that is null stays absent.
template <class Config, class Read>
void read_part(const Napi::Object& value, const char* name, std::optional<engine::Part<Config>>& part, Read read) {
  const Napi::Value found = value.Get(name);
  if (found.IsNull() || found.IsUndefined()) return;
  const Napi::Object object = object_of(found, name);
  part.emplace();
  part->file = string_of(object.Get("file"), "file");
  read(object, part->config);
}

}  // namespace

engine::ModelDescription description_of(const Napi::Object& value) {
  engine::ModelDescription result;
  result.device = string_of(value.Get("device"), "device");
  result.dtype = dtype_of(value.Get("dtype"));
  result.quantization = quantization_of(value.Get("quantization"));
  result.batch_size = integer_of(value.Get("batchSize"), "batchSize");
  result.max_queue = integer_of(value.Get("maxQueue"), "maxQueue");
  result.rows = integer_of(value.Get("cacheRows"), "cacheRows");
  result.positions = integer_of(value.Get("cachePositions"), "cachePositions");
  result.deterministic = boolean_of(value.Get("deterministic"), "deterministic");
  read_part(value, "firstStage", result.first_stage, [](const Napi::Object& part, models::FirstStageConfig& config) {
    read_transformer(part, config);
    config.codebook_size = integer_of(part.Get("codebookSize"), "codebookSize");
    config.end_of_audio = integer_of(part.Get("endOfAudio"), "endOfAudio");
    config.end_of_text = integer_of(part.Get("endOfText"), "endOfText");
  });
  read_part(value, "secondStage", result.second_stage, [](const Napi::Object& part, models::SecondStageConfig& config) {
    read_transformer(part, config);
    config.codebook_size = integer_of(part.Get("codebookSize"), "codebookSize");
  });
  read_part(value, "speakerEncoder", result.speaker_encoder, [](const Napi::Object&, engine::NoConfig&) {});
  read_part(value, "codec", result.codec, [](const Napi::Object& part, models::encodec::EncodecConfig& config) {
    config.sample_rate = integer_of(part.Get("sampleRate"), "sampleRate");
    config.codebooks = integer_of(part.Get("codebooks"), "codebooks");
    each_of(part, "ratios", [&](const Napi::Value& ratio) { config.ratios.push_back(integer_of(ratio, "ratios")); });
  });
  read_part(value, "diffusion", result.diffusion, [](const Napi::Object& part, models::diffusion::DiffusionConfig& config) {
    config.sample_rate = integer_of(part.Get("sampleRate"), "sampleRate");
    each_of(part, "bands", [&](const Napi::Value& band) { config.bands.push_back(band_of(object_of(band, "bands"))); });
  });
  read_part(value, "enhancer", result.enhancer, [](const Napi::Object& part, models::deep_filter::DeepFilterConfig& config) {
    config.sample_rate = integer_of(part.Get("sampleRate"), "sampleRate");
    config.window = integer_of(part.Get("window"), "window");
    config.sizes.bands = integer_of(part.Get("bands"), "bands");
    config.sizes.deep_bins = integer_of(part.Get("deepBins"), "deepBins");
    config.sizes.order = integer_of(part.Get("order"), "order");
    config.look_ahead = integer_of(part.Get("lookAhead"), "lookAhead");
    config.least_bins = integer_of(part.Get("leastBandBins"), "leastBandBins");
    config.mean_seconds = number_of(part.Get("meanSeconds"), "meanSeconds");
  });
  return result;
}

}  // namespace metavoice::binding
