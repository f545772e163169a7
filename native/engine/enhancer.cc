#include "engine/enhancer.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::engine {

Enhancer::Enhancer(const models::deep_filter::DeepFilter& network, int64_t sample_rate, core::Stopped stopped)
    : network_(network), rate_(sample_rate), stopped_(std::move(stopped)), state_(network.begin()) {
  if (sample_rate == network.sample_rate()) return;
  ops::SincResampler resampler(sample_rate, network.sample_rate());
  auto state = resampler.begin();
  resampling_.emplace(std::move(resampler), std::move(state));
}

at::Tensor Enhancer::push(const at::Tensor& samples) {
  core::require(samples.dim() == 1 && samples.scalar_type() == at::kFloat && samples.is_contiguous(), "samples on the host");
  std::vector<float> out;
  for (int64_t first = 0; first < samples.size(0); first += rate_) {
    core::require_wanted(stopped_);
    push(samples.const_data_ptr<float>() + first, std::min(rate_, samples.size(0) - first), out);
  }
  return at::tensor(out);
}

void Enhancer::push(const float* samples, int64_t count, models::deep_filter::Frame& out) {
  if (!resampling_) {
    network_.push(samples, count, state_, out);
    return;
  }
  std::vector<float> wide;
  resampling_->resampler.push(samples, count, resampling_->state, wide);
  network_.push(wide.data(), static_cast<int64_t>(wide.size()), state_, out);
}

at::Tensor Enhancer::finish() {
  std::vector<float> wide, out;
  if (resampling_) resampling_->resampler.finish(resampling_->state, wide);
  network_.push(wide.data(), static_cast<int64_t>(wide.size()), state_, out);
  network_.finish(state_, out);
  return at::tensor(out);
}

}  // namespace metavoice::engine
