#include "models/diffusion/noise.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "core/error.h"
#include "ops/normal_draws.h"

namespace metavoice::models::diffusion {

namespace {

constexpr int64_t kMostDraws = 1 << 12;      // lanes of a band
constexpr int64_t kMostNumbers = 1 << 22;    // that are made at a time

// Draws of some bands, made for several steps at once: many small launches would cost more than the numbers.
struct Drawer {
  core::RandomKey key;
  int64_t draws, first_sample, samples;
  at::Device device;
  int64_t band = -1, bands = 0, first = 0;  // what `kept` is of
  std::vector<at::Tensor> kept;             // a tensor [draws, samples] for each band

  at::Tensor draw(int64_t wanted_band, int64_t wanted_bands, int64_t index) {
    core::require(index < draws && draws <= kMostDraws, "a draw of the sampler");
    const bool here = band == wanted_band && bands == wanted_bands && index >= first && index < first + kept[0].size(0);
    if (!here) make(wanted_band, wanted_bands, index);
    std::vector<at::Tensor> rows;
    for (const at::Tensor& all : kept) rows.push_back(all[index - first]);
    return at::stack(rows);
  }

  void make(int64_t wanted_band, int64_t wanted_bands, int64_t index) {
    band = wanted_band;
    bands = wanted_bands;
    first = index;
    const int64_t count = std::clamp<int64_t>(kMostNumbers / (bands * samples), 1, draws - index);
    kept.clear();
    for (int64_t i = 0; i < bands; ++i)
      kept.push_back(ops::normal_draws(key, core::Stream::diffusion, (band + i) * kMostDraws + index, count, first_sample, samples, device));
  }
};

}  // namespace

Noise given_noise(const at::Tensor& numbers) {
  return [numbers](int64_t band, int64_t bands, int64_t draw) {
    core::require(draw < numbers.size(1), "noise for every step");
    return numbers.narrow(0, band, bands).select(1, draw).to(at::kFloat);
  };
}

Noise drawn_noise(const core::RandomKey& key, int64_t draws, int64_t first_sample, int64_t samples, const at::Device& device) {
  const auto drawer = std::make_shared<Drawer>(Drawer{key, draws, first_sample, samples, device, -1, 0, 0, {}});
  return [drawer](int64_t band, int64_t bands, int64_t draw) { return drawer->draw(band, bands, draw); };
}

}  // namespace metavoice::models::diffusion
