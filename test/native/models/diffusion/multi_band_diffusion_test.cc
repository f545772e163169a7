#include "models/diffusion/multi_band_diffusion.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/diffusion.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::models::diffusion;

namespace {

constexpr int64_t kSteps = 20;
const core::RandomKey kKey{99, 0, 0};

at::Tensor golden_bands(const MultiBandDiffusion& diffusion, at::ScalarType dtype) {
  const at::Tensor noise = golden("diffusion", "noise").to(diffusion.device(), at::kFloat);
  return diffusion.sample(golden("diffusion", "latent"), noise.size(2), given_noise(noise), kSteps, dtype);
}

MultiBandDiffusion random_one(const DiffusionSizes& sizes, at::Device device = at::kCPU, Bands bands = Bands::one_by_one) {
  return MultiBandDiffusion(opened(random_diffusion(sizes, 81), {device, at::kFloat}), config_of(sizes), bands);
}

// The sampler as it is described, one band, in double.
at::Tensor plain_sample(const Tensors& tensors, const DiffusionSizes& sizes, int64_t band, const at::Tensor& latent, const at::Tensor& noise) {
  const ScheduleConfig schedule = config_of(sizes).bands[static_cast<size_t>(band)].schedule;
  const std::vector<double> alphas = cumulative_alphas(schedule);
  const int64_t count = noise.size(1);
  const at::Tensor draws = noise[band].to(at::kDouble) * schedule.noise_scale;
  at::Tensor x = draws[0];
  for (int64_t i = 0; i < count; ++i) {
    const int64_t step = schedule.steps - 1 - i * schedule.steps / count, next = i + 1 == count ? 0 : schedule.steps - 1 - (i + 1) * schedule.steps / count;
    const double here = alphas[static_cast<size_t>(step)], there = alphas[static_cast<size_t>(next)], alpha = here / there;
    const at::Tensor found = plain::unet(tensors, band, sizes, x, step, latent) * schedule.noise_scale;
    x = (x - found * ((1 - alpha) / std::sqrt(1 - here))) / std::sqrt(alpha);
    if (i + 1 < count) x = x + draws[i + 1] * std::sqrt((1 - there) / (1 - here) * (1 - alpha));
    if (schedule.clip > 0) x = x.clamp(-schedule.clip, schedule.clip);
  }
  return x;
}

}  // namespace

TEST_SUITE("models/diffusion") {
  TEST_CASE("refuses what is not its own") {
    const DiffusionSizes sizes;
    Tensors tensors = random_diffusion(sizes, 81);
    tensors["bands.2.embedding.weight"] = at::ones({3, 3});
    check_refused([&] { MultiBandDiffusion(opened(tensors), config_of(sizes), Bands::one_by_one); }, "ERR_CHECKPOINT", "bands.2.embedding.weight");
    tensors = random_diffusion(sizes, 81);
    for (const char* name : {"bands.1.embedding.weight", "bands.1.embeddings.0.weight"}) tensors[name] = tensors[name].narrow(0, 0, 50);
    check_refused([&] { MultiBandDiffusion(opened(tensors), config_of(sizes), Bands::side_by_side); }, "ERR_CHECKPOINT", "one number of steps");

    tensors = random_diffusion(sizes, 81);
    DiffusionConfig config = config_of(sizes);
    config.bands[1].processor = {8, 1};
    check_refused([&] { MultiBandDiffusion(opened(tensors), config, Bands::one_by_one); }, "ERR_CHECKPOINT", "has no tensor processors.1.counts");
    tensors["processors.1.counts"] = at::ones({1});
    for (const char* name : {"sum_x", "sum_x2", "sum_target_x2"}) tensors[std::string("processors.1.") + name] = at::zeros({8});
    check_refused([&] { MultiBandDiffusion(opened(tensors), config, Bands::one_by_one); }, "ERR_CHECKPOINT", "not finite numbers");

    const MultiBandDiffusion diffusion = random_one(sizes);
    const Noise noise = given_noise(at::zeros({2, 3, 64}));
    check_refused([&] { diffusion.sample(at::zeros({7, 2}), 64, noise, 3, at::kFloat); }, "ERR_INTERNAL", "a latent of the decoder's width");
    check_refused([&] { diffusion.sample(at::zeros({6, 2}), 65, noise, 3, at::kFloat); }, "ERR_INTERNAL", "noise for every sample");
    check_refused([&] { diffusion.sample(at::zeros({6, 2}), 64, noise, 4, at::kFloat); }, "ERR_INTERNAL", "noise for every step");
    check_refused([&] { diffusion.sample(at::zeros({6, 2}), 64, noise, 101, at::kFloat); }, "ERR_INTERNAL", "between one and all");
  }

  TEST_CASE("reads its sizes from the file") {
    for (const Bands bands : {Bands::one_by_one, Bands::side_by_side}) {
      const MultiBandDiffusion diffusion = golden_diffusion(at::kCPU, at::kFloat, bands);
      CHECK(diffusion.bands() == 4);
      CHECK(diffusion.latent_width() == 16);
      CHECK(diffusion.cell() == 256);
      CHECK(diffusion.most_evaluations() == 1000);
      CHECK(diffusion.sample_rate() == 24000);
    }
  }

  TEST_CASE("every band and their sum are the golden ones") {
    for (const at::Device& device : devices())
      for (const Bands bands : {Bands::one_by_one, Bands::side_by_side}) {
        const at::Tensor found = golden_bands(golden_diffusion(device, at::kFloat, bands), at::kFloat).cpu(), wanted = golden("diffusion", "bands");
        for (int64_t band = 0; band < 4; ++band) check_wave(found[band], wanted[band], kWaveTolerance, "band " + std::to_string(band) + " on " + device.str());
        check_wave(found.sum(0), golden("diffusion", "summed"), kWaveTolerance, "sum on " + device.str());
        CHECK(signal_to_error(found, wanted) > 60);
      }
  }

  TEST_CASE("in 16 bit all steps together keep 30 dB, and upcast they are float32 again") {
    for (const at::Device& device : devices())
      for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
        const MultiBandDiffusion diffusion = golden_diffusion(device, dtype, Bands::side_by_side);
        const double found = signal_to_error(golden_bands(diffusion, dtype), golden("diffusion", "bands"));
        if (settings().report) std::cerr << "    " << toString(dtype) << " on " << device.str() << ", after all steps: " << found << " dB\n";
        CHECK(found > 30);
        CHECK(signal_to_error(golden_bands(diffusion, at::kFloat), golden("diffusion", "bands")) > found);
      }
  }

  TEST_CASE("decoders of other sizes are the plain formula, with clip and without, at any number of steps") {
    for (const at::Device& device : devices())
      for (const DiffusionSizes& sizes : {DiffusionSizes{}, DiffusionSizes{.channels = {3, 6, 9}, .bands = 3, .blocks = 2, .unet = {4, 3}}}) {
        const Tensors tensors = random_diffusion(sizes, 81);
        for (const int64_t steps : {1, 7}) {
          const at::Tensor latent = Numbers(82).normal({sizes.latent, 3}, 1), noise = Numbers(83).normal({sizes.bands, steps, 961}, 1);
          for (const Bands bands : {Bands::one_by_one, Bands::side_by_side}) {
            const at::Tensor found = random_one(sizes, device, bands).sample(latent, 961, given_noise(noise), steps, at::kFloat).cpu();
            for (int64_t band = 0; band < sizes.bands; ++band)
              check_wave(found[band], plain_sample(tensors, sizes, band, latent, noise), 1e-4, std::to_string(steps) + " steps, band " + std::to_string(band));
          }
        }
      }
  }

  TEST_CASE("bands of different forms are sampled one by one") {
    DiffusionSizes sizes, larger{.channels = {6, 12}};
    Tensors tensors = random_diffusion(sizes, 81);
    for (const auto& [name, tensor] : random_diffusion(larger, 82))
      if (name.starts_with("bands.1.")) tensors[name] = tensor;
    const at::Tensor latent = Numbers(84).normal({6, 2}, 1), noise = Numbers(85).normal({2, 3, 640}, 1);
    const auto sample = [&](Bands bands) { return MultiBandDiffusion(opened(tensors), config_of(sizes), bands).sample(latent, 640, given_noise(noise), 3, at::kFloat); };
    check_equal(sample(Bands::side_by_side), sample(Bands::one_by_one), "forms");
  }

  TEST_CASE("what is not finite inside is told, not clamped away") {
    const DiffusionSizes sizes;
    Tensors tensors = random_diffusion(sizes, 81);
    tensors["bands.1.decoders.1.convtr.weight"].fill_(1e38);  // infinite behind the last layer, and ±clip after a clamp
    DiffusionConfig config = config_of(sizes);
    config.bands[1].schedule.clip = 5;
    for (const Bands bands : {Bands::one_by_one, Bands::side_by_side}) {
      const MultiBandDiffusion diffusion(opened(tensors), config, bands);
      CHECK(diffusion.sample(at::ones({6, 2}), 640, drawn_noise(kKey, 2, 0, 640, at::kCPU), 2, at::kFloat)[1].isnan().all().item<bool>());
    }
  }
}
