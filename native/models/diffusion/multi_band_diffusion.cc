#include "models/diffusion/multi_band_diffusion.h"

#include <limits>
#include <string>

#include "core/error.h"
#include "ops/band_split.h"
#include "ops/finite.h"

namespace metavoice::models::diffusion {

namespace {

std::string band_name(int64_t band) { return "bands." + std::to_string(band); }

// One filter that multiplies each sub-band by (its spread / its target)^power, and the means that are added. Statistics
// are sums; what the file calls the target's is of squares, and no root is taken of it: so it was trained.
std::pair<at::Tensor, double> processor_of(const core::Weights& weights, const ProcessorConfig& config,
                                           const ops::BandFilters& filters) {
  const auto sums = [&](const char* name, int64_t size) { return weights.tensor(name, {size}, at::kFloat).to(at::kCPU, at::kDouble); };
  const at::Tensor counts = sums("counts", 1), mean = sums("sum_x", config.bands) / counts;
  const at::Tensor spread = (sums("sum_x2", config.bands) / counts - mean.square()).clamp_min(0).sqrt();
  const at::Tensor target = sums("sum_target_x2", config.bands) / counts;
  const at::Tensor gains = (spread / target).pow(config.power);
  if (!ops::all_finite(gains) || !ops::all_finite(mean))
    throw core::Error("ERR_CHECKPOINT", "expected statistics of " + std::to_string(config.bands) +
                                            " bands in the diffusion decoder but found some that are not finite numbers");
  return {ops::gain_filter(gains.to(filters.lowpass.device(), at::kFloat), filters), mean.sum().item<double>()};
}

// Per evaluation and band, on the device before the first launch: [evaluations, 3, bands, 1].
at::Tensor coefficients(const std::vector<BandConfig>& bands, int64_t first, int64_t count, int64_t evaluations, const at::Device& device) {
  at::Tensor result = at::zeros({evaluations, 3, count, 1}, at::kFloat);
  for (int64_t band = 0; band < count; ++band) {
    const ScheduleConfig& schedule = bands[static_cast<size_t>(first + band)].schedule;
    const std::vector<SamplerStep> steps = sampler_steps(schedule, evaluations);
    for (int64_t i = 0; i < evaluations; ++i) {
      const SamplerStep& step = steps[static_cast<size_t>(i)];
      result[i][0][band] = step.noise_share * schedule.noise_scale;
      result[i][1][band] = step.gain;
      result[i][2][band] = step.spread * schedule.noise_scale;
    }
  }
  return result.to(device);
}

// [bands, 1]
at::Tensor per_band(const std::vector<BandConfig>& bands, int64_t first, int64_t count, const at::Device& device, double (*value)(const ScheduleConfig&)) {
  at::Tensor result = at::empty({count, 1}, at::kFloat);
  for (int64_t band = 0; band < count; ++band) result[band] = value(bands[static_cast<size_t>(first + band)].schedule);
  return result.to(device);
}

double clip_of(const ScheduleConfig& schedule) { return schedule.clip > 0 ? schedule.clip : std::numeric_limits<double>::infinity(); }
double scale_of(const ScheduleConfig& schedule) { return schedule.noise_scale; }

bool of_one_form(const core::Weights& weights, const std::vector<BandConfig>& bands) {
  for (size_t band = 1; band < bands.size(); ++band)
    if (bands[band].unet != bands[0].unet || !weights.same_shapes(band_name(0), band_name(static_cast<int64_t>(band)))) return false;
  return true;
}

}  // namespace

MultiBandDiffusion::MultiBandDiffusion(const core::Weights& weights, const DiffusionConfig& config, Bands bands)
    : config_(config), device_(weights.placement().device) {
  core::require(!config.bands.empty(), "at least one band");
  const bool together = bands == Bands::side_by_side && of_one_form(weights, config.bands);
  const int64_t size = together ? this->bands() : 1;
  for (int64_t first = 0; first < this->bands(); first += size) {
    layers::ParallelWeights networks;
    for (int64_t band = first; band < first + size; ++band) networks.push_back(weights.scope(band_name(band)));
    groups_.push_back({first, Unet(networks, config.bands[static_cast<size_t>(first)].unet)});
  }
  for (int64_t band = 0; band < this->bands(); ++band) {
    BandConfig& of_band = config_.bands[static_cast<size_t>(band)];
    const Unet& unet = groups_[static_cast<size_t>(band / size)].unet;
    of_band.schedule.steps = unet.steps();
    if (unet.latent_width() != latent_width() || unet.steps() != most_evaluations())
      throw core::Error("ERR_CHECKPOINT", "expected the bands of the diffusion decoder to have one latent and one number of steps");
    processors_.emplace_back();
    if (!of_band.processor) continue;
    const ops::BandFilters filters = ops::mel_bands(of_band.processor->bands, config.sample_rate, device_);
    const auto [taps, mean] = processor_of(weights.scope("processors." + std::to_string(band)), *of_band.processor, filters);
    processors_.back() = Processor{taps, mean};
  }
  weights.require_all_used();
}

int64_t MultiBandDiffusion::cell() const { return groups_[0].unet.cell(); }

at::Tensor MultiBandDiffusion::sample(const at::Tensor& latent, int64_t samples, const Noise& noise, int64_t evaluations,
                                      at::ScalarType dtype) const {
  core::require(latent.dim() == 2 && latent.size(0) == latent_width() && samples > 0, "a latent of the decoder's width");
  std::vector<at::Tensor> rows;
  for (const Group& group : groups_) rows.push_back(sample_group(group, latent, samples, noise, evaluations, dtype));
  at::Tensor result = at::cat(rows);
  for (size_t band = 0; band < processors_.size(); ++band) {
    if (!processors_[band]) continue;
    const auto& [taps, mean] = *processors_[band];
    const at::Tensor row = result[static_cast<int64_t>(band)];
    row.copy_(ops::apply_filter(ops::extend_ends(row, taps.size(0) / 2), taps) + mean);
  }
  return result;
}

at::Tensor MultiBandDiffusion::sample_group(const Group& group, const at::Tensor& latent, int64_t samples, const Noise& noise,
                                            int64_t evaluations, at::ScalarType dtype) const {
  const int64_t first = group.first, count = group.unet.networks();
  const std::vector<BandConfig>& bands = config_.bands;
  const std::vector<SamplerStep> steps = sampler_steps(bands[static_cast<size_t>(first)].schedule, evaluations);
  const at::Tensor weights = coefficients(bands, first, count, evaluations, device_);
  const at::Tensor scale = per_band(bands, first, count, device_, scale_of), clip = per_band(bands, first, count, device_, clip_of);
  const at::Tensor condition = group.unet.condition(latent.to(device_), samples, dtype);
  const auto draw = [&](int64_t index) { return noise(first, count, index).to(device_); };

  at::Tensor x = draw(0) * scale, health = at::zeros({}, x.options());
  core::require(x.size(1) == samples, "noise for every sample");
  // From here on nothing comes to the host.
  for (int64_t i = 0; i < evaluations; ++i) {
    const at::Tensor found = group.unet.forward(x, steps[static_cast<size_t>(i)].step, condition, dtype);
    health = health + ops::zero_if_finite(found);
    x = (x - found * weights[i][0]) * weights[i][1];
    if (i + 1 < evaluations) x = x + draw(i + 1) * weights[i][2];
    x = at::clamp(x, -clip, clip);
  }
  return x + health;
}

}  // namespace metavoice::models::diffusion
