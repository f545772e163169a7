// Golden data (test/fixtures/README.md) and the converted test model.
#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "core/weights.h"
#include "engine/speech_model.h"
#include "support/settings.h"

namespace metavoice::testing {

// A tensor of test/fixtures/<file>.safetensors, as stored.
inline at::Tensor golden(const std::string& file, const std::string& name) {
  const core::Safetensors stored = core::Safetensors::open(settings().fixtures + "/" + file + ".safetensors");
  const auto found = stored.tensors.find(name);
  if (found == stored.tensors.end()) throw std::runtime_error(file + " has no golden tensor " + name);
  auto* data = const_cast<std::byte*>(stored.file->data() + found->second.offset);
  at::Tensor result = at::empty(found->second.shape, found->second.dtype);
  if (found->second.bytes > 0) std::memcpy(result.mutable_data_ptr(), data, found->second.bytes);
  return result;
}

// Numbers of native.safetensors (tools/golden-native.mjs): what llm.json and speaker.json say.
inline at::Tensor numbers(const std::string& name) { return golden("native", name).to(at::kLong); }

inline std::vector<int64_t> to_vector(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kCPU, at::kLong).contiguous();
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

// The samples of a mono float32 WAV file.
inline at::Tensor wav_samples(const std::string& name) {
  std::ifstream file(settings().fixtures + "/" + name, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  for (size_t at = 12; at + 8 <= bytes.size();) {
    uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at + 4, sizeof(length));
    if (bytes.compare(at, 4, "data") == 0) {
      at::Tensor samples = at::empty({static_cast<int64_t>(length / sizeof(float))}, at::kFloat);
      std::memcpy(samples.mutable_data_ptr(), bytes.data() + at + 8, length);
      return samples;
    }
    at += 8 + length + length % 2;
  }
  throw std::runtime_error("no samples in " + name);
}

inline models::FirstStageConfig golden_first_config() {
  models::FirstStageConfig config;
  config.heads = 2;
  config.codebook_size = 1024;
  config.end_of_audio = 2048;
  config.end_of_text = 2561;
  return config;
}

inline models::SecondStageConfig golden_second_config() {
  models::SecondStageConfig config;
  config.heads = 2;
  config.norm = layers::NormKind::layer;
  config.activation = layers::Activation::gelu;
  config.codebook_size = 1024;
  return config;
}

inline models::encodec::EncodecConfig golden_codec_config() { return {24000, {8, 5, 4, 2}, 8}; }

inline std::string model_file(const std::string& name) { return settings().model + "/" + name + ".safetensors"; }

inline core::Weights model_weights(const std::string& name, at::Device device, at::ScalarType dtype = at::kFloat) {
  return core::Weights::open(model_file(name), {device, dtype});
}

inline models::FirstStage golden_first_stage(at::Device device, at::ScalarType dtype = at::kFloat) {
  return models::FirstStage(model_weights("first_stage", device, dtype), golden_first_config());
}

inline models::SecondStage golden_second_stage(at::Device device, at::ScalarType dtype = at::kFloat) {
  return models::SecondStage(model_weights("second_stage", device, dtype), golden_second_config());
}

inline models::encodec::Encodec golden_codec(at::Device device) {
  return models::encodec::Encodec(model_weights("codec", device), golden_codec_config());
}

inline engine::ModelDescription golden_description(at::Device device, at::ScalarType dtype = at::kFloat) {
  engine::ModelDescription description;
  description.device = device.str();
  description.dtype = dtype;
  description.first_stage = {model_file("first_stage"), golden_first_config()};
  description.second_stage = {model_file("second_stage"), golden_second_config()};
  description.speaker_encoder = {model_file("speaker_encoder"), {}};
  description.codec = {model_file("codec"), golden_codec_config()};
  description.enhancer = {model_file("enhancer"), {}};
  return description;
}

}  // namespace metavoice::testing
