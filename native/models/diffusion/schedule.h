// How much noise each step of the diffusion has, and the arithmetic between two of them (Ho et al. 2020), on a part of
// the steps that were trained.
#pragma once

#include <cstdint>
#include <vector>

namespace metavoice::models::diffusion {

// beta(t) rises from beta_start to beta_end along a power of `exponent`.
struct ScheduleConfig {
  int64_t steps = 1000;
  double beta_start = 0;
  double beta_end = 0;
  double exponent = 1;
  double noise_scale = 1;
  double clip = 0;  // samples stay within ±clip; 0: anywhere
};

// x <- (x - noise_share * noise) * gain + spread * N(0, 1)
struct SamplerStep {
  int64_t step = 0;  // the noise level that the network is told
  double noise_share = 0;
  double gain = 1;
  double spread = 0;
};

// The product of (1 - beta) up to each step.
std::vector<double> cumulative_alphas(const ScheduleConfig& config);

// `evaluations` steps evenly down from the noisiest; after the last one the signal is at step 0, the least noisy. Any
// number from 1 to config.steps; 20 of 1,000 are 999, 949 … 49.
std::vector<SamplerStep> sampler_steps(const ScheduleConfig& config, int64_t evaluations);

}  // namespace metavoice::models::diffusion
