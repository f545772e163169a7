#include "models/diffusion/unet.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/diffusion.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::models::diffusion;

namespace {

std::vector<DiffusionSizes> variants() {
  return {{}, {.channels = {6, 12, 24}, .latent = 5, .blocks = 2, .unet = {4, 3}}, {.channels = {8}, .kernel = 6, .blocks = 3, .unet = {2, 4}},
          {.channels = {4, 4}, .kernel = 7, .every_level = false, .unet = {3, 1}}, {.channels = {4, 8, 16, 32}, .bands = 4, .blocks = 2, .unet = {4, 4}}};
}

Unet unet_of(const core::Weights& weights, int64_t band, const DiffusionSizes& sizes) {
  return Unet({weights.scope("bands." + std::to_string(band))}, sizes.unet);
}

Unet together(const core::Weights& weights, const DiffusionSizes& sizes) {
  layers::ParallelWeights scopes;
  for (int64_t band = 0; band < sizes.bands; ++band) scopes.push_back(weights.scope("bands." + std::to_string(band)));
  return Unet(scopes, sizes.unet);
}

at::Tensor run(const Unet& unet, const at::Tensor& x, int64_t step, const at::Tensor& latent, at::ScalarType dtype = at::kFloat) {
  return unet.forward(x, step, unet.condition(latent, x.size(1), dtype), dtype);
}

}  // namespace

TEST_SUITE("models/diffusion/unet") {
  TEST_CASE("refuses shapes that are not its own") {
    const DiffusionSizes sizes;
    check_refused([&] { Unet({opened(random_diffusion(sizes, 1)).scope("bands.0")}, {4, 3}); }, "ERR_CHECKPOINT", "groups of norms");
    check_refused([&] { Unet({opened(random_diffusion(sizes, 1)).scope("bands.0")}, {9, 2}); }, "ERR_CHECKPOINT", "a stride up to 8");
    for (const char* name : {"encoders.1.conv.weight", "decoders.0.convtr.weight", "conv_codec.bias", "encoders.0.res_blocks.0.conv2.weight"}) {
      Tensors tensors = random_diffusion(sizes, 1);
      at::Tensor& tensor = tensors[std::string("bands.0.") + name];
      tensor = at::cat({tensor, tensor});
      check_refused([&] { Unet({opened(tensors).scope("bands.0")}, sizes.unet); }, "ERR_CHECKPOINT", "expected tensor bands.0.");
    }
    Tensors tensors = random_diffusion(sizes, 1);
    tensors.erase("bands.0.decoders.1.norm.bias");
    check_refused([&] { Unet({opened(tensors).scope("bands.0")}, sizes.unet); }, "ERR_CHECKPOINT", "has no tensor bands.0.decoders.1.norm.bias");
  }

  TEST_CASE("is the plain formula at other sizes: levels, blocks, kernels, strides, groups, lengths that are no multiple") {
    for (const at::Device& device : devices())
      for (const DiffusionSizes& sizes : variants()) {
        const Tensors tensors = random_diffusion(sizes, 61);
        const core::Weights weights = opened(tensors, {device, at::kFloat});
        const Unet unet = unet_of(weights, 1, sizes);
        CHECK(unet.latent_width() == sizes.latent);
        CHECK(unet.steps() == sizes.steps);
        for (const auto& [samples, frames] : {std::pair{1, 1}, {63, 2}, {320, 4}, {1921, 5}}) {
          const at::Tensor x = Numbers(62).normal({1, samples}, 1), latent = Numbers(63).normal({sizes.latent, frames}, 1);
          const at::Tensor wanted = plain::unet(tensors, 1, sizes, x[0], 37, latent);
          const at::Tensor found = run(unet, x.to(device), 37, latent.to(device))[0];
          CHECK(signal_to_error(found, wanted) > 60);
          check_wave(found, wanted, 1e-4, std::to_string(samples) + " samples, " + std::to_string(sizes.channels.size()) + " levels on " + device.str());
        }
      }
  }

  TEST_CASE("gives the golden noise, in 16 bit within 30 dB") {
    for (const at::Device& device : devices())
      for (const auto& [dtype, decibels] : {std::pair{at::kFloat, 60.0}, {at::kHalf, 30.0}, {at::kBFloat16, 30.0}}) {
        const Unet unet({model_weights("diffusion", device, dtype).scope("bands.0")}, {4, 4});
        const at::Tensor x = golden("diffusion", "encodec").unsqueeze(0).to(device), wanted = golden("diffusion", "unet.eval");
        const at::Tensor found = run(unet, x, 549, golden("diffusion", "latent").to(device), dtype)[0].cpu();
        const double ratio = signal_to_error(found, wanted);
        if (settings().report) std::cerr << "    " << toString(dtype) << " on " << device.str() << ": " << ratio << " dB\n";
        CHECK(ratio > decibels);
        if (dtype == at::kFloat) check_wave(found, wanted, 1e-4, "evaluation on " + device.str());
      }
  }

  TEST_CASE("networks side by side are the networks one by one") {
    for (const at::Device& device : devices())
      for (const DiffusionSizes& sizes : variants()) {
        const core::Weights weights = opened(random_diffusion(sizes, 64), {device, at::kFloat});
        const Unet all = together(weights, sizes);
        CHECK(all.networks() == sizes.bands);
        const at::Tensor x = Numbers(65).normal({sizes.bands, 1283}, 1).to(device), latent = Numbers(66).normal({sizes.latent, 6}, 1).to(device);
        const at::Tensor found = run(all, x, 3, latent);
        for (int64_t band = 0; band < sizes.bands; ++band)
          check_wave(found[band], run(unet_of(weights, band, sizes), x.narrow(0, band, 1), 3, latent)[0], 1e-5, "band " + std::to_string(band));
      }
  }

  TEST_CASE("weights of 16 bit: 30 dB and more, and as good as exact where they are upcast") {
    for (const at::Device& device : devices())
      for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
        const DiffusionSizes sizes = variants().back();
        Tensors tensors = random_diffusion(sizes, 67);
        for (auto& [name, tensor] : tensors) tensor = tensor.to(dtype).to(at::kFloat);
        const Unet unet = together(opened(tensors, {device, dtype}), sizes);
        CHECK((unet.dtype() == dtype));
        const at::Tensor x = Numbers(68).normal({sizes.bands, 1920}, 1), latent = Numbers(69).normal({sizes.latent, 6}, 1);
        std::vector<at::Tensor> rows;
        for (int64_t band = 0; band < sizes.bands; ++band) rows.push_back(plain::unet(tensors, band, sizes, x[band], 80, latent));
        const double own = signal_to_error(run(unet, x.to(device), 80, latent.to(device), dtype), at::stack(rows));
        const double exact = signal_to_error(run(unet, x.to(device), 80, latent.to(device)), at::stack(rows));
        if (settings().report) std::cerr << "    " << toString(dtype) << " on " << device.str() << ": " << own << " dB, upcast " << exact << " dB\n";
        CHECK(own > 30);
        CHECK(exact > 60);
      }
  }

  TEST_CASE("the latent and the step reach the output") {
    const DiffusionSizes sizes;
    const Unet unet = unet_of(opened(random_diffusion(sizes, 70)), 0, sizes);
    const at::Tensor x = Numbers(71).normal({1, 640}, 1), latent = Numbers(72).normal({sizes.latent, 4}, 1);
    const at::Tensor found = run(unet, x, 5, latent);
    CHECK(difference(run(unet, x, 6, latent), found).worst > 1e-2);
    CHECK(difference(run(unet, x, 5, latent + 1), found).worst > 1e-2);
    check_equal(run(unet, x, 5, latent), found, "again");
  }
}
