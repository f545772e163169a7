#include "engine/enhancer.h"

#include "core/error.h"

namespace metavoice::engine {

Enhancer::Enhancer(const models::deep_filter::DeepFilter& network, int64_t sample_rate) : network_(network), state_(network.begin()) {
  if (sample_rate == network.sample_rate()) return;
  ops::SincResampler resampler(sample_rate, network.sample_rate());
  auto state = resampler.begin();
  resampling_.emplace(std::move(resampler), std::move(state));
}

at::Tensor Enhancer::push(const at::Tensor& samples) {
  core::require(samples.dim() == 1 && samples.scalar_type() == at::kFloat && samples.is_contiguous(), "samples on the host");
  std::vector<float> out;
  if (!resampling_) {
    network_.push(samples.const_data_ptr<float>(), samples.size(0), state_, out);
    return at::tensor(out);
  }
  std::vector<float> wide;
  resampling_->resampler.push(samples.const_data_ptr<float>(), samples.size(0), resampling_->state, wide);
  network_.push(wide.data(), static_cast<int64_t>(wide.size()), state_, out);
  return at::tensor(out);
}

at::Tensor Enhancer::finish() {
  std::vector<float> wide, out;
  if (resampling_) resampling_->resampler.finish(resampling_->state, wide);
  network_.push(wide.data(), static_cast<int64_t>(wide.size()), state_, out);
  network_.finish(state_, out);
  return at::tensor(out);
}

}  // namespace metavoice::engine
