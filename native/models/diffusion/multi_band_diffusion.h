// Multi-band diffusion (San Roman et al. 2023): a decoder of codes to sound. Each band of the spectrum has a diffusion
// model of its own; what they make is added, and a reference gives the bands their level (reference_equalizer.h).
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "core/weights.h"
#include "models/diffusion/noise.h"
#include "models/diffusion/schedule.h"
#include "models/diffusion/unet.h"

namespace metavoice::models::diffusion {

// Sets the levels of a band's own sub-bands to those of its training data, raised to `power`.
struct ProcessorConfig {
  int64_t bands = 0;
  double power = 1;
};

struct BandConfig {
  UnetConfig unet;
  ScheduleConfig schedule;  // `steps` is read from the file
  std::optional<ProcessorConfig> processor;
};

struct DiffusionConfig {
  int64_t sample_rate = 0;
  std::vector<BandConfig> bands;
};

// One launch for all bands where their networks have one form, or band by band on mapped weights.
enum class Bands { side_by_side, one_by_one };

class MultiBandDiffusion {
 public:
  MultiBandDiffusion(const core::Weights& weights, const DiffusionConfig& config, Bands bands);

  int64_t sample_rate() const { return config_.sample_rate; }
  int64_t bands() const { return static_cast<int64_t>(config_.bands.size()); }
  int64_t latent_width() const { return groups_[0].unet.latent_width(); }
  // Evaluations that a signal can have at the most.
  int64_t most_evaluations() const { return groups_[0].unet.steps(); }
  // Samples of a cell of the deepest level.
  int64_t cell() const;
  at::ScalarType dtype() const { return groups_[0].unet.dtype(); }
  at::Device device() const { return device_; }

  // latent [width, frames] -> [bands, samples] float32, to be added; computed in `dtype`, which is the weights' or wider.
  // NaN where an evaluation was not finite: a clamp would hide it.
  at::Tensor sample(const at::Tensor& latent, int64_t samples, const Noise& noise, int64_t evaluations, at::ScalarType dtype) const;

 private:
  struct Group {
    int64_t first = 0;  // band
    Unet unet;
  };
  struct Processor {
    at::Tensor taps;
    double mean = 0;
  };

  at::Tensor sample_group(const Group& group, const at::Tensor& latent, int64_t samples, const Noise& noise, int64_t evaluations,
                          at::ScalarType dtype) const;

  DiffusionConfig config_;
  at::Device device_;
  std::vector<Group> groups_;
  std::vector<std::optional<Processor>> processors_;  // of each band
};

}  // namespace metavoice::models::diffusion
