// All networks of one model on one device: immutable once loaded, shared by everything that speaks with it. The diffusion
// decoder is loaded when it is first asked for: it is as large as all the others together, and not every request wants it.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/weights.h"
#include "models/deep_filter/deep_filter.h"
#include "models/diffusion/multi_band_diffusion.h"
#include "models/diffusion/reference_equalizer.h"
#include "models/encodec/encodec.h"
#include "models/first_stage.h"
#include "models/second_stage.h"
#include "models/speaker_encoder.h"

namespace metavoice::engine {

template <class Config>
struct Part {
  std::string file;
  Config config;
};

struct NoConfig {};

struct ModelDescription {
  std::string device = "cpu";
  at::ScalarType dtype = at::kFloat;  // of the two language models and of diffusion; the rest is always float32
  core::Quantization quantization = core::Quantization::none;  // of the matrices in the first stage's layers
  std::optional<Part<models::FirstStageConfig>> first_stage;
  std::optional<Part<models::SecondStageConfig>> second_stage;
  std::optional<Part<NoConfig>> speaker_encoder;
  std::optional<Part<models::encodec::EncodecConfig>> codec;
  std::optional<Part<models::deep_filter::DeepFilterConfig>> enhancer;  // always on the CPU
  std::optional<Part<models::diffusion::DiffusionConfig>> diffusion;
  // How it is shared by many (engine/scheduler.h).
  int64_t batch_size = 1;
  int64_t max_queue = 0;
  int64_t rows = 2;
  int64_t positions = 0;
  bool deterministic = false;
};

// What turns a latent into sound by diffusion, and gives it the levels of the codec's own decoder.
struct DiffusionPart {
  models::diffusion::MultiBandDiffusion decoder;
  models::diffusion::ReferenceEqualizer equalizer;
};

class SpeechModel {
 public:
  explicit SpeechModel(const ModelDescription& description);
  // Memory of a GPU goes back to the device, not just to libtorch.
  ~SpeechModel();
  SpeechModel(const SpeechModel&) = delete;
  SpeechModel& operator=(const SpeechModel&) = delete;

  at::Device device() const { return device_; }
  size_t weight_bytes() const { return weight_bytes_; }

  // Absent parts are refused when used.
  const models::FirstStage& first_stage() const;
  const models::SecondStage& second_stage() const;
  const models::SpeakerEncoder& speaker_encoder() const;
  const models::encodec::Encodec& codec() const;
  // Any thread; the first one loads it.
  const DiffusionPart& diffusion() const;
  bool diffusion_loaded() const { return diffusion_loaded_.load(std::memory_order_relaxed); }
  const models::deep_filter::DeepFilter& enhancer() const;
  // A model speaks without an enhancer: ERR_CHECKPOINT of one that was left out, because its weights are not sound.
  const std::optional<core::Error>& refused_enhancer() const { return refused_enhancer_; }

  bool has_first_stage() const { return first_stage_.has_value(); }
  bool has_second_stage() const { return second_stage_.has_value(); }
  bool has_speaker_encoder() const { return speaker_encoder_.has_value(); }
  bool has_codec() const { return codec_.has_value(); }
  // Of the diffusion decoder, without loading it; 0 where there is none.
  int64_t diffusion_bands() const { return diffusion_part_ ? static_cast<int64_t>(diffusion_part_->config.bands.size()) : 0; }
  bool has_enhancer() const { return enhancer_.has_value(); }

 private:
  core::Weights open(const std::string& file, at::ScalarType dtype, core::Quantization quantization = core::Quantization::none) const;
  void check_agreement() const;
  DiffusionPart load_diffusion() const;

  at::Device device_;
  size_t weight_bytes_ = 0;
  std::optional<models::FirstStage> first_stage_;
  std::optional<models::SecondStage> second_stage_;
  std::optional<models::SpeakerEncoder> speaker_encoder_;
  std::optional<models::encodec::Encodec> codec_;
  std::optional<models::deep_filter::DeepFilter> enhancer_;
  std::optional<core::Error> refused_enhancer_;
  std::optional<Part<models::diffusion::DiffusionConfig>> diffusion_part_;
  at::ScalarType dtype_;
  mutable std::once_flag diffusion_asked_;
  mutable std::optional<DiffusionPart> diffusion_;
  mutable std::atomic<bool> diffusion_loaded_{false};
};

}  // namespace metavoice::engine
