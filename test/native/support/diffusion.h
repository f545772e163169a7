// Diffusion decoders of the tests' own: the golden one, random ones of any size, and the U-Net as a plain formula.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <string>
#include <vector>

#include "models/diffusion/multi_band_diffusion.h"
#include "support/fixtures.h"
#include "support/networks.h"

namespace metavoice::testing {

// As test/fixtures/model/mbd_comp_8.pt is configured.
inline models::diffusion::DiffusionConfig golden_diffusion_config() {
  models::diffusion::DiffusionConfig config;
  config.sample_rate = 24000;
  config.bands.resize(4);
  config.bands[0].schedule = config.bands[1].schedule = {1000, 1e-5, 0.029, 7.5, 1, 5};
  config.bands[2].schedule = {1000, 2e-5, 0.025, 6, 1, 5};
  config.bands[3].schedule = {1000, 1e-5, 0.03, 8, 0.9, 5};
  config.bands[2].processor = {8, 0.4};
  config.bands[3].processor = {8, 0.75};
  return config;
}

inline models::diffusion::MultiBandDiffusion golden_diffusion(at::Device device, at::ScalarType dtype = at::kFloat,
                                                              models::diffusion::Bands bands = models::diffusion::Bands::one_by_one) {
  return models::diffusion::MultiBandDiffusion(model_weights("diffusion", device, dtype), golden_diffusion_config(), bands);
}

struct DiffusionSizes {
  std::vector<int64_t> channels = {4, 8};
  int64_t bands = 2;
  int64_t latent = 6;
  int64_t kernel = 8;
  int64_t blocks = 1;
  int64_t steps = 100;
  bool every_level = true;  // is told the step
  models::diffusion::UnetConfig unet = {4, 2};
};

inline Tensors random_diffusion(const DiffusionSizes& sizes, uint64_t seed) {
  Numbers numbers(seed);
  Tensors tensors;
  for (int64_t band = 0; band < sizes.bands; ++band) {
    const std::string scope = "bands." + std::to_string(band) + ".";
    const auto conv = [&](const std::string& name, int64_t out, int64_t in, int64_t kernel, int64_t inputs) {
      tensors[scope + name + ".weight"] = numbers.normal({out, in, kernel}, 1 / std::sqrt(static_cast<double>(inputs)));
    };
    const auto norm = [&](const std::string& name, int64_t width) {
      tensors[scope + name + ".weight"] = 1 + numbers.normal({width}, 0.2);
      tensors[scope + name + ".bias"] = numbers.normal({width}, 0.2);
    };
    const auto blocks = [&](const std::string& name, int64_t width) {
      for (int64_t i = 0; i < sizes.blocks; ++i)
        for (const char* half : {"1", "2"}) {
          const std::string block = name + ".res_blocks." + std::to_string(i);
          norm(block + ".norm" + half, width);
          conv(block + ".conv" + half, width, width, 3, 3 * width);
          tensors[scope + block + ".conv" + half + ".bias"] = numbers.normal({width}, 0.1);
        }
    };
    const auto depth = static_cast<int64_t>(sizes.channels.size());
    int64_t outer = 1;
    for (int64_t level = 0; level < depth; ++level) {
      const int64_t width = sizes.channels[static_cast<size_t>(level)];
      const std::string encoder = "encoders." + std::to_string(level), decoder = "decoders." + std::to_string(depth - 1 - level);
      conv(encoder + ".conv", width, outer, sizes.kernel, outer * sizes.kernel);
      norm(encoder + ".norm", width);
      blocks(encoder, width);
      blocks(decoder, width);
      norm(decoder + ".norm", width);
      conv(decoder + ".convtr", width, outer, sizes.kernel, 2 * width);
      const std::string table = level == 0 ? "embedding" : "embeddings." + std::to_string(level - 1);
      if (level == 0 || sizes.every_level) tensors[scope + table + ".weight"] = numbers.normal({sizes.steps, width}, 0.5);
      outer = width;
    }
    conv("conv_codec", outer, sizes.latent, 1, sizes.latent);
    tensors[scope + "conv_codec.bias"] = numbers.normal({outer}, 0.1);
  }
  return tensors;
}

inline models::diffusion::DiffusionConfig config_of(const DiffusionSizes& sizes) {
  models::diffusion::DiffusionConfig config;
  config.sample_rate = 24000;
  for (int64_t band = 0; band < sizes.bands; ++band) {
    const auto number = static_cast<double>(band);
    config.bands.push_back({sizes.unet, {sizes.steps, 1e-4 * (1 + number), 0.05, 5 + number, 1 - 0.1 * number, band == 0 ? 5.0 : 0.0}, {}});
  }
  return config;
}

namespace plain {

// One network in double, straight from the description. x [samples] -> [samples]
inline at::Tensor unet(const Tensors& tensors, int64_t band, const DiffusionSizes& sizes, const at::Tensor& signal, int64_t step,
                       const at::Tensor& latent) {
  const std::string scope = "bands." + std::to_string(band) + ".";
  const auto get = [&](const std::string& name) { return tensors.at(scope + name).to(at::kDouble); };
  const auto norm = [&](const at::Tensor& x, const std::string& name) {
    const at::Tensor groups = x.view({sizes.unet.norm_groups, -1});
    const at::Tensor centred = groups - groups.mean(1, true);
    const at::Tensor even = (centred / at::sqrt(centred.square().mean(1, true) + 1e-5)).view(x.sizes());
    return even * get(name + ".weight").view({1, -1, 1}) + get(name + ".bias").view({1, -1, 1});
  };
  const auto blocks = [&](at::Tensor x, const std::string& name) {
    for (int64_t i = 0; i < sizes.blocks; ++i) {
      const std::string block = name + ".res_blocks." + std::to_string(i);
      const int64_t dilation = int64_t{1} << i;
      at::Tensor h = x;
      for (const char* half : {"1", "2"})
        h = at::conv1d(at::relu(norm(h, block + ".norm" + half)), get(block + ".conv" + half + ".weight"),
                       get(block + ".conv" + half + ".bias"), 1, dilation, dilation);
      x = x + h;
    }
    return x;
  };
  const int64_t stride = sizes.unet.stride, padding = (sizes.kernel - stride) / 2;
  const auto depth = static_cast<int64_t>(sizes.channels.size());
  at::Tensor x = signal.to(at::kDouble).view({1, 1, -1});
  std::vector<at::Tensor> skips;
  for (int64_t level = 0; level < depth; ++level) {
    const std::string name = "encoders." + std::to_string(level);
    while (x.size(2) % stride != 0) x = at::constant_pad_nd(x, {0, 1});
    x = blocks(at::relu(norm(at::conv1d(x, get(name + ".conv.weight"), {}, stride, padding), name + ".norm")), name);
    const std::string table = level == 0 ? "embedding.weight" : "embeddings." + std::to_string(level - 1) + ".weight";
    if (tensors.contains(scope + table)) x = x + get(table)[step].view({1, -1, 1});
    skips.push_back(x);
  }
  const at::Tensor told = at::conv1d(latent.to(at::kDouble).unsqueeze(0), get("conv_codec.weight"), get("conv_codec.bias"));
  const int64_t length = x.size(2);
  std::vector<int64_t> nearest;
  for (int64_t i = 0; i < length; ++i) nearest.push_back(i * latent.size(1) / length);
  skips.back() = skips.back() + told.index_select(2, at::tensor(nearest));
  x = at::zeros_like(x);
  for (int64_t level = depth - 1; level >= 0; --level) {
    const std::string name = "decoders." + std::to_string(depth - 1 - level);
    const at::Tensor& skip = skips[static_cast<size_t>(level)];
    x = at::relu(norm(blocks(x.narrow(2, 0, skip.size(2)) + skip, name), name + ".norm"));
    x = at::conv_transpose1d(x, get(name + ".convtr.weight"), {}, stride, padding);
  }
  return x.view({-1}).narrow(0, 0, signal.size(0));
}

}  // namespace plain

// Decibels of a signal over what is wrong with it.
inline double signal_to_error(const at::Tensor& got, const at::Tensor& wanted) {
  const at::Tensor exact = wanted.to(at::kCPU, at::kDouble);
  const double error = (got.to(at::kCPU, at::kDouble) - exact).square().sum().item<double>();
  return 10 * std::log10(exact.square().sum().item<double>() / error);
}

}  // namespace metavoice::testing
