// Networks of the tests' own: random ones of any size, and first stages that follow a script.
#pragma once

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/weights.h"
#include "engine/speech_model.h"
#include "models/encodec/encodec.h"
#include "models/first_stage.h"
#include "models/second_stage.h"
#include "support/files.h"

namespace metavoice::testing {

struct NetworkSizes {
  int64_t layers = 2;
  int64_t heads = 2;
  int64_t width = 16;
  int64_t hidden = 24;
  int64_t window = 64;
  std::vector<int64_t> vocabularies = {};
  std::vector<int64_t> outputs = {};  // empty: the first token table
  int64_t speaker = 5;           // 0: none
  bool swiglu = true;
  bool biases = false;
  bool norm_biases = false;
};

// Random numbers that depend on the seed alone.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : generator_(at::make_generator<at::CPUGeneratorImpl>(seed)) {}

  at::Tensor normal(at::IntArrayRef shape, double spread) { return at::randn(shape, generator_, at::kFloat) * spread; }
  at::Tensor integers(int64_t below, at::IntArrayRef shape) { return at::randint(below, shape, generator_, at::kLong); }
  std::vector<int64_t> list(int64_t first, int64_t last, int64_t count) {
    const at::Tensor drawn = integers(last - first, {count}) + first;
    return {drawn.data_ptr<int64_t>(), drawn.data_ptr<int64_t>() + count};
  }

 private:
  at::Generator generator_;
};

// A language model with activations around one, so that a mistake in any part shows in the logits.
inline Tensors random_transformer(const NetworkSizes& sizes, uint64_t seed) {
  Numbers numbers(seed);
  Tensors tensors;
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    tensors[name + ".weight"] = numbers.normal({out, in}, 1 / std::sqrt(static_cast<double>(in)));
    if (sizes.biases) tensors[name + ".bias"] = numbers.normal({out}, 0.3);
  };
  const auto norm = [&](const std::string& name) {
    tensors[name + ".weight"] = 1 + numbers.normal({sizes.width}, 0.2);
    if (sizes.norm_biases) tensors[name + ".bias"] = numbers.normal({sizes.width}, 0.3);
  };
  for (size_t i = 0; i < sizes.vocabularies.size(); ++i)
    tensors["tokens." + std::to_string(i) + ".weight"] = numbers.normal({sizes.vocabularies[i], sizes.width}, 1);
  tensors["positions.weight"] = numbers.normal({sizes.window, sizes.width}, 0.5);
  if (sizes.speaker > 0) tensors["speaker.weight"] = numbers.normal({sizes.width, sizes.speaker}, 1);
  for (int64_t i = 0; i < sizes.layers; ++i) {
    const std::string name = "layers." + std::to_string(i);
    norm(name + ".attention_norm");
    linear(name + ".attention.qkv", 3 * sizes.width, sizes.width);
    linear(name + ".attention.out", sizes.width, sizes.width);
    norm(name + ".feed_forward_norm");
    if (sizes.swiglu) linear(name + ".feed_forward.gate", sizes.hidden, sizes.width);
    linear(name + ".feed_forward.up", sizes.hidden, sizes.width);
    linear(name + ".feed_forward.down", sizes.width, sizes.hidden);
  }
  norm("norm");
  for (size_t i = 0; i < sizes.outputs.size(); ++i)
    tensors["heads." + std::to_string(i) + ".weight"] = numbers.normal({sizes.outputs[i], sizes.width}, 1 / std::sqrt(static_cast<double>(sizes.width)));
  return tensors;
}

struct CodecSizes {
  std::vector<int64_t> ratios = {4, 3};
  int64_t dimension = 6;
  int64_t filters = 4;
  int64_t codebooks = 4;
  int64_t codebook_size = 16;
  int64_t kernel = 7;
  int64_t lstm_layers = 2;  // 0: none
  bool weight_norm = true;
  bool shortcut = true;
  bool encoder = true;
};

inline Tensors random_codec(const CodecSizes& sizes, uint64_t seed) {
  Numbers numbers(seed);
  Tensors tensors;
  const auto conv = [&](const std::string& name, int64_t first, int64_t second, int64_t kernel, int64_t bias) {
    const at::Tensor weight = numbers.normal({first, second, kernel}, 1.0 / std::sqrt(static_cast<double>(second * kernel)));
    tensors[name + ".bias"] = numbers.normal({bias}, 0.1);
    if (!sizes.weight_norm) {
      tensors[name + ".weight"] = weight;
      return;
    }
    tensors[name + ".weight_v"] = weight;
    tensors[name + ".weight_g"] = 1 + numbers.normal({first, 1, 1}, 0.2);
  };
  const auto residual = [&](const std::string& name, int64_t width) {
    conv(name + ".block.1", width / 2, width, 3, width / 2);
    conv(name + ".block.3", width, width / 2, 1, width);
    if (sizes.shortcut) conv(name + ".shortcut", width, width, 1, width);
  };
  const auto lstm = [&](const std::string& name, int64_t width) {
    for (int64_t i = 0; i < sizes.lstm_layers; ++i) {
      const std::string suffix = "_l" + std::to_string(i);
      for (const char* part : {"weight_ih", "weight_hh"}) tensors[name + "." + part + suffix] = numbers.normal({4 * width, width}, 0.4);
      for (const char* part : {"bias_ih", "bias_hh"}) tensors[name + "." + part + suffix] = numbers.normal({4 * width}, 0.2);
    }
  };
  const auto levels = static_cast<int64_t>(sizes.ratios.size());
  const int64_t widest = sizes.filters << levels, recurrent = sizes.lstm_layers > 0 ? 1 : 0;

  conv("decoder.0", widest, sizes.dimension, sizes.kernel, widest);
  lstm("decoder.1.lstm", widest);
  int64_t index = 2 + recurrent, width = widest;
  for (const int64_t ratio : sizes.ratios) {
    conv("decoder." + std::to_string(index), width, width / 2, 2 * ratio, width / 2);
    width /= 2;
    residual("decoder." + std::to_string(index + 1), width);
    index += 3;
  }
  conv("decoder." + std::to_string(index), 1, width, sizes.kernel, 1);

  if (sizes.encoder) {
    conv("encoder.0", width, 1, sizes.kernel, width);
    index = 1;
    for (auto ratio = sizes.ratios.rbegin(); ratio != sizes.ratios.rend(); ++ratio) {
      residual("encoder." + std::to_string(index), width);
      conv("encoder." + std::to_string(index + 2), 2 * width, width, 2 * *ratio, 2 * width);
      width *= 2;
      index += 3;
    }
    lstm("encoder." + std::to_string(index) + ".lstm", widest);
    conv("encoder." + std::to_string(index + recurrent + 1), sizes.dimension, widest, sizes.kernel, sizes.dimension);
  }
  for (int64_t i = 0; i < sizes.codebooks; ++i)
    tensors["quantizer." + std::to_string(i) + ".embed"] = numbers.normal({sizes.codebook_size, sizes.dimension}, 1.0 / static_cast<double>(i + 1));
  return tensors;
}

// -------------------------------------------------------------------------------------------- small models that speak

// Two codebooks of 16, end of audio 32, text 33 … 40, of which 40 ends it.
inline models::FirstStageConfig small_first_config() {
  models::FirstStageConfig config;
  config.heads = 2;
  config.codebook_size = 16;
  config.end_of_audio = 32;
  config.end_of_text = 40;
  return config;
}

inline models::SecondStageConfig small_second_config() {
  models::SecondStageConfig config;
  config.heads = 2;
  config.norm = layers::NormKind::layer;
  config.activation = layers::Activation::gelu;
  config.codebook_size = 16;
  return config;
}

constexpr int64_t kSmallVocabulary = 41;
constexpr int64_t kSmallTextOffset = 16;  // of the second stage's text ids, below the first's

// LayerNorm where the file has its bias.
inline models::FirstStageConfig first_config_of(const Tensors& tensors) {
  models::FirstStageConfig config = small_first_config();
  if (tensors.contains("norm.bias")) config.norm = layers::NormKind::layer;
  return config;
}

// Speaks for ever: one axis of the last norm is constant, and says that the end is out of the question.
inline Tensors small_first_stage(int64_t window, uint64_t seed = 1) {
  NetworkSizes sizes;
  sizes.window = window;
  sizes.vocabularies = {kSmallVocabulary};
  sizes.outputs = {kSmallVocabulary};
  sizes.norm_biases = true;
  Tensors tensors = random_transformer(sizes, seed);
  tensors["norm.weight"][0] = 0;
  tensors["norm.bias"][0] = 1;
  tensors["heads.0.weight"][32].zero_();
  tensors["heads.0.weight"][32][0] = -1000;
  return tensors;
}

inline Tensors small_second_stage(int64_t window, uint64_t seed = 2) {
  NetworkSizes sizes;
  sizes.window = window;
  sizes.swiglu = false;
  sizes.vocabularies = {25, 17};  // codes, padding, and text in the first
  sizes.outputs = {17, 17};
  return random_transformer(sizes, seed);
}

// A first stage that answers to position p of its window with script[p]: each position has an axis of its own, and the
// output layer reads it. What was said before does not matter. The answer's logit is far above the others'.
inline Tensors scripted_first_stage(const std::vector<int64_t>& script, int64_t vocabulary) {
  const auto window = static_cast<int64_t>(script.size());
  Tensors tensors;
  const int64_t width = window + window % 2;
  tensors["tokens.0.weight"] = at::zeros({vocabulary, width});
  tensors["positions.weight"] = at::eye(window, width, at::kFloat);
  tensors["layers.0.attention_norm.weight"] = at::ones({width});
  tensors["layers.0.attention.qkv.weight"] = at::zeros({3 * width, width});
  tensors["layers.0.attention.out.weight"] = at::zeros({width, width});
  tensors["layers.0.feed_forward_norm.weight"] = at::ones({width});
  for (const char* name : {"gate", "up"}) tensors[std::string("layers.0.feed_forward.") + name + ".weight"] = at::zeros({2, width});
  tensors["layers.0.feed_forward.down.weight"] = at::zeros({width, 2});
  tensors["norm.weight"] = at::ones({width});
  at::Tensor head = at::zeros({vocabulary, width});
  for (int64_t p = 0; p < window; ++p) head[script[static_cast<size_t>(p)]][p] = 100;
  tensors["heads.0.weight"] = head;
  return tensors;
}

struct SmallModel {
  TemporaryFolder folder;
  engine::ModelDescription description;

  SmallModel(const Tensors& first, const Tensors& second, at::Device device = at::kCPU, at::ScalarType dtype = at::kFloat) {
    write_safetensors(folder.file("first"), first);
    write_safetensors(folder.file("second"), second);
    write_safetensors(folder.file("codec"), random_codec({}, 3));
    description.device = device.str();
    description.dtype = dtype;
    description.first_stage = {folder.file("first"), first_config_of(first)};
    description.second_stage = {folder.file("second"), small_second_config()};
    description.codec = {folder.file("codec"), {24000, {4, 3}, 4}};
  }

  std::shared_ptr<const engine::SpeechModel> load() const { return std::make_shared<const engine::SpeechModel>(description); }
};

// A file of tensors, opened as weights; the folder goes with the object, the mapping stays.
inline core::Weights opened(const Tensors& tensors, core::Placement placement = {}) {
  const TemporaryFolder folder;
  write_safetensors(folder.file("tensors"), tensors);
  return core::Weights::open(folder.file("tensors"), placement);
}

}  // namespace metavoice::testing
