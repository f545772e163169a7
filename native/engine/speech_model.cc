#include "engine/speech_model.h"

#include <ATen/Context.h>

#include <cstdlib>

#include "core/device_memory.h"
#include "core/error.h"
#include "core/precision.h"
#include "core/side_stream.h"

namespace metavoice::engine {

namespace {

constexpr int64_t kReferenceBands = 32;  // in which diffusion gets the levels of the codec's own decoder

template <class T>
const T& require_part(const std::optional<T>& part, const char* name) {
  if (!part)
    throw core::Error("ERR_MODEL_NOT_FOUND", std::string("this model has no ") + name + "; convert a folder that holds its file",
                      {{"part", name}});
  return *part;
}

// Parts of different models must not be mixed up silently.
void expect(int64_t first, int64_t second, const char* what) {
  if (first != second)
    throw core::Error("ERR_CHECKPOINT", std::string("the parts of this model disagree about ") + what + ": " + std::to_string(first) +
                                            " and " + std::to_string(second));
}

at::Device parse_device(const std::string& name) {
  const at::Device device(name);
  if (device.is_cuda() && !at::hasCUDA())
    throw core::Error("ERR_CUDA_UNAVAILABLE", "the device " + name + " was asked for but this libtorch sees no CUDA device");
  // `cuda` is the first one: what libtorch makes there says so, too.
  return device.is_cuda() && !device.has_index() ? at::Device(at::kCUDA, 0) : device;
}

}  // namespace

SpeechModel::SpeechModel(const ModelDescription& description)
    : device_(parse_device(description.device)), diffusion_part_(description.diffusion), dtype_(description.dtype) {
  core::settle_precision();
  // cuBLAS reads it once, before its first product, and its sums depend on it.
  if (description.deterministic && device_.is_cuda()) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
  if (description.deterministic) at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  if (const auto& part = description.first_stage) {
    const core::Weights weights = open(part->file, description.dtype, description.quantization);
    first_stage_.emplace(weights, part->config);
    weight_bytes_ += weights.bytes_used();
  }
  if (const auto& part = description.second_stage) {
    const core::Weights weights = open(part->file, description.dtype);
    second_stage_.emplace(weights, part->config);
    weight_bytes_ += weights.bytes_used();
  }
  if (const auto& part = description.speaker_encoder) {
    const core::Weights weights = open(part->file, at::kFloat);
    speaker_encoder_.emplace(weights);
    weight_bytes_ += weights.bytes_used();
  }
  if (const auto& part = description.codec) {
    const core::Weights weights = open(part->file, at::kFloat);
    codec_.emplace(weights, part->config);
    weight_bytes_ += weights.bytes_used();
  }
  if (const auto& part = description.enhancer) {
    try {
      const core::Weights weights = core::Weights::open(part->file, {});
      enhancer_.emplace(weights, part->config);
      weight_bytes_ += weights.bytes_used();
    } catch (const core::Error& error) {
      if (error.code() != "ERR_CHECKPOINT") throw;
      refused_enhancer_ = error;
    }
  }
  check_agreement();
  core::synchronize(device_);
}

SpeechModel::~SpeechModel() {
  first_stage_.reset();
  second_stage_.reset();
  speaker_encoder_.reset();
  codec_.reset();
  diffusion_.reset();
  enhancer_.reset();
  try {
    core::release_device_cache(device_);
  } catch (...) {
    // A device that is lost holds nothing any more.
  }
}

core::Weights SpeechModel::open(const std::string& file, at::ScalarType dtype, core::Quantization quantization) const {
  return core::Weights::open(file, {device_, dtype, quantization});
}

void SpeechModel::check_agreement() const {
  if (first_stage_ && second_stage_) {
    expect(first_stage_->config().codebook_size, second_stage_->config().codebook_size, "the codes of a codebook");
    if (first_stage_->speaker_width() > 0 && second_stage_->speaker_width() > 0)
      expect(first_stage_->speaker_width(), second_stage_->speaker_width(), "the width of the speaker embedding");
  }
  if (first_stage_ && speaker_encoder_ && first_stage_->speaker_width() > 0)
    expect(first_stage_->speaker_width(), speaker_encoder_->width(), "the width of the speaker embedding");
  if (first_stage_ && codec_) expect(first_stage_->config().codebook_size, codec_->codebook_size(), "the codes of a codebook");
  if (second_stage_ && codec_) expect(2 + second_stage_->predicted(), codec_->codebooks(), "the number of codebooks");
}

const models::FirstStage& SpeechModel::first_stage() const { return require_part(first_stage_, "first stage"); }
const models::SecondStage& SpeechModel::second_stage() const { return require_part(second_stage_, "second stage"); }
const models::SpeakerEncoder& SpeechModel::speaker_encoder() const { return require_part(speaker_encoder_, "speaker encoder"); }
const models::encodec::Encodec& SpeechModel::codec() const { return require_part(codec_, "codec"); }

const models::deep_filter::DeepFilter& SpeechModel::enhancer() const {
  if (refused_enhancer_) throw *refused_enhancer_;
  return require_part(enhancer_, "enhancer");
}

const DiffusionPart& SpeechModel::diffusion() const {
  // What throws is tried again by the next one who asks.
  std::call_once(diffusion_asked_, [this] {
    diffusion_.emplace(load_diffusion());
    diffusion_loaded_ = true;
  });
  return *diffusion_;
}

DiffusionPart SpeechModel::load_diffusion() const {
  const auto& [file, config] = require_part(diffusion_part_, "diffusion decoder");
  // On a GPU launches are dear; on the CPU a copy of the mapped weights would be.
  const auto bands = device_.is_cpu() ? models::diffusion::Bands::one_by_one : models::diffusion::Bands::side_by_side;
  models::diffusion::MultiBandDiffusion decoder(open(file, dtype_), config, bands);
  expect(codec().dimension(), decoder.latent_width(), "the width of the latent");
  expect(codec().sample_rate(), decoder.sample_rate(), "the sample rate");
  models::diffusion::ReferenceEqualizer equalizer(kReferenceBands, config.sample_rate, device_);
  core::synchronize(device_);
  return {std::move(decoder), std::move(equalizer)};
}

}  // namespace metavoice::engine
