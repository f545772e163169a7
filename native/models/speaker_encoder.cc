#include "models/speaker_encoder.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::models {

namespace {

constexpr int64_t kFrameStep = 77;  // round(16,000 / 1.3 slices per second / 160)
constexpr double kLeastCoverage = 0.75;

}  // namespace

SpeakerEncoder::SpeakerEncoder(const core::Weights& weights)
    : filters_(ops::mel_filters(settings_).to(weights.placement().device)),
      lstm_(layers::Lstm::load(weights.scope("lstm"), settings_.bands)),
      linear_(layers::Linear::load(weights.scope("linear"), core::Weights::any, lstm_.hidden, at::kFloat)) {
  weights.require_all_used();
}

std::vector<std::pair<int64_t, int64_t>> SpeakerEncoder::slices(int64_t samples) {
  const int64_t frames = (samples + 1 + samples_per_frame - 1) / samples_per_frame;
  const int64_t steps = std::max<int64_t>(1, frames - slice_frames + kFrameStep + 1);
  std::vector<std::pair<int64_t, int64_t>> result;
  for (int64_t start = 0; start < steps; start += kFrameStep) result.emplace_back(start, start + slice_frames);
  const double covered = static_cast<double>(samples - result.back().first * samples_per_frame) /
                         static_cast<double>(slice_frames * samples_per_frame);
  if (covered < kLeastCoverage && result.size() > 1) result.pop_back();
  return result;
}

at::Tensor SpeakerEncoder::mel(const at::Tensor& samples) const {
  const int64_t end = slices(samples.size(0)).back().second * samples_per_frame;
  const at::Tensor padded = end >= samples.size(0) ? at::constant_pad_nd(samples, {0, end - samples.size(0)}) : samples;
  return ops::mel_spectrogram(padded.to(filters_.device()), filters_, settings_);
}

at::Tensor SpeakerEncoder::partials(const at::Tensor& samples) const {
  core::require(samples.dim() == 1 && samples.size(0) > 0, "samples to embed");
  const at::Tensor frames = mel(samples);
  std::vector<at::Tensor> cuts;
  for (const auto& [first, last] : slices(samples.size(0))) cuts.push_back(frames.narrow(0, first, last - first));
  layers::LstmState state;
  lstm_.step(at::stack(cuts, 1), state);  // [160, slices, 40]
  const at::Tensor raw = at::relu(linear_.forward(state.hidden[lstm_.layers - 1]));
  return raw / at::norm(raw, at::Scalar(2), {1}, /*keepdim=*/true);
}

at::Tensor SpeakerEncoder::embed(const at::Tensor& samples) const {
  const at::Tensor mean = partials(samples).mean(0);
  return mean / at::norm(mean);
}

}  // namespace metavoice::models
