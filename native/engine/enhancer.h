// One signal on its way through the enhancer: samples at any rate in, samples at the enhancer's rate out, in pieces that
// equal the whole bit for bit.
#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "core/stop.h"
#include "models/deep_filter/deep_filter.h"
#include "ops/sinc_resample.h"

namespace metavoice::engine {

class Enhancer {
 public:
  // `stopped` is asked for every second of the signal; then push() throws ABORT_ERR, and nothing may follow.
  Enhancer(const models::deep_filter::DeepFilter& network, int64_t sample_rate, core::Stopped stopped = {});

  int64_t sample_rate() const { return network_.sample_rate(); }

  // [n] float32 on the host -> the samples that are known now
  at::Tensor push(const at::Tensor& samples);
  // The rest. Nothing may follow.
  at::Tensor finish();

 private:
  struct Resampling {
    ops::SincResampler resampler;
    ops::SincResampler::State state;
  };

  void push(const float* samples, int64_t count, models::deep_filter::Frame& out);

  const models::deep_filter::DeepFilter& network_;
  const int64_t rate_;  // of what comes
  core::Stopped stopped_;
  std::optional<Resampling> resampling_;
  models::deep_filter::DeepFilter::State state_;
};

}  // namespace metavoice::engine
