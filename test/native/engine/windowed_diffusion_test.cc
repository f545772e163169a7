#include "engine/windowed_diffusion.h"

#include <doctest.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "engine/stages.h"
#include "support/compare.h"
#include "support/diffusion.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::DiffusionRequest;
using engine::SpeechModel;
using engine::WindowedDiffusion;

namespace {

constexpr int64_t kHop = 320;
const std::vector<int64_t> kEnds = {19, 57, 132, 282};

// The golden codec with a small decoder of two bands, so that windows are quick.
struct Decoder {
  TemporaryFolder folder;
  engine::ModelDescription description;

  explicit Decoder(at::Device device = at::kCPU, at::ScalarType dtype = at::kFloat, const Tensors& tensors = {}) {
    const DiffusionSizes sizes{.channels = {4, 8, 8, 8}, .bands = 2, .latent = 16};
    write_safetensors(folder.file("diffusion"), tensors.empty() ? random_diffusion(sizes, 91) : tensors);
    description.device = device.str();
    description.dtype = dtype;
    description.codec = {model_file("codec"), golden_codec_config()};
    description.diffusion = {folder.file("diffusion"), config_of(sizes)};
  }
};

std::shared_ptr<const SpeechModel> loaded(at::Device device = at::kCPU, at::ScalarType dtype = at::kFloat, const Tensors& tensors = {}) {
  const Decoder decoder(device, dtype, tensors);
  const auto model = std::make_shared<const SpeechModel>(decoder.description);
  model->diffusion();  // while its file is there
  return model;
}

at::Tensor codes_of(int64_t frames) { return Numbers(92).integers(1024, {8, frames}); }

DiffusionRequest request_of(std::vector<int64_t> ends = kEnds) { return {{5, 0, 0}, 4, std::move(ends), {}}; }

// What was ready after each piece of codes.
std::vector<at::Tensor> pushed(const SpeechModel& model, const at::Tensor& codes, const std::vector<int64_t>& lengths, DiffusionRequest request = request_of()) {
  WindowedDiffusion windows(model, std::move(request));
  std::vector<at::Tensor> pieces;
  int64_t first = 0;
  for (const int64_t length : lengths) {
    windows.add(codes.narrow(1, first, length), false);
    pieces.push_back(windows.speak(windows.ready()));
    first += length;
  }
  REQUIRE(first == codes.size(1));
  windows.add(codes.narrow(1, 0, 0), true);
  pieces.push_back(windows.speak(first));
  return pieces;
}

at::Tensor whole(const SpeechModel& model, const at::Tensor& codes, DiffusionRequest request = request_of()) {
  return at::cat(pushed(model, codes, {codes.size(1)}, std::move(request)));
}

// How far the second difference at a place stands out of what is usual around it: about 1 where nothing is.
double seam(const at::Tensor& samples, int64_t place) {
  const at::Tensor x = samples.to(at::kDouble);
  const at::Tensor bends = (x.narrow(0, 2, x.size(0) - 2) - 2 * x.narrow(0, 1, x.size(0) - 2) + x.narrow(0, 0, x.size(0) - 2)).abs();
  constexpr int64_t kAround = 480, kAt = 2;
  const at::Tensor around = at::cat({bends.narrow(0, place - kAround, kAround - 8), bends.narrow(0, place + 8, kAround - 8)});
  return bends.narrow(0, place - 1 - kAt, 2 * kAt + 1).max().item<double>() / around.max().item<double>();
}

}  // namespace

TEST_SUITE("engine/windowed_diffusion") {
  TEST_CASE("refuses a model without the decoder, and chunks that do not grow") {
    const Decoder with;
    engine::ModelDescription description = with.description;
    description.diffusion.reset();
    const SpeechModel without(description), model(with.description);
    check_refused([&] { whole(without, codes_of(9)); }, "ERR_MODEL_NOT_FOUND", "diffusion decoder");
    check_refused([&] { WindowedDiffusion(model, request_of({})); }, "ERR_INTERNAL", "chunks that grow");
    check_refused([&] { WindowedDiffusion(model, request_of({19, 19})); }, "ERR_INTERNAL", "chunks that grow");
    WindowedDiffusion windows(model, request_of());
    windows.add(codes_of(33), false);
    check_refused([&] { windows.speak(19); }, "ERR_INTERNAL", "a window with its context");
    windows.add(codes_of(1), true);
    check_refused([&] { windows.add(codes_of(1), false); }, "ERR_INTERNAL", "an utterance that goes on");
  }

  TEST_CASE("refuses a decoder of another codec") {
    Decoder with;
    with.description.diffusion->config.sample_rate = 16000;
    check_refused([&] { SpeechModel(with.description).diffusion(); }, "ERR_CHECKPOINT", "the sample rate: 24000 and 16000");
    const Decoder narrow(at::kCPU, at::kFloat, random_diffusion({.channels = {4, 8, 8, 8}, .bands = 2, .latent = 15}, 1));
    check_refused([&] { SpeechModel(narrow.description).diffusion(); }, "ERR_CHECKPOINT", "the width of the latent: 16 and 15");
  }

  TEST_CASE("sizes of windows come from the codec") {
    const engine::WindowSizes sizes = engine::WindowSizes::of(golden_codec(at::kCPU));
    CHECK(sizes.context == 15);
    CHECK(sizes.fade == 4);
    CHECK(sizes.longest == 75);
  }

  TEST_CASE("what is one window is the whole form") {
    for (const at::Device& device : devices()) {
      const auto model = loaded(device);
      const at::Tensor codes = codes_of(37), wanted = engine::diffuse(*model, codes, 5, {}, 4, {});
      check_wave(whole(*model, codes, request_of({40})), wanted, 1e-6, "one window on " + device.str());
      CHECK(wanted.size(0) == 37 * kHop);
    }
  }

  TEST_CASE("pieces are the schedule of windows, bit for bit, and come as soon as they are final") {
    const auto model = loaded();
    const at::Tensor codes = codes_of(150), wanted = whole(*model, codes);
    CHECK(wanted.size(0) == 150 * kHop);
    CHECK(wanted.isfinite().all().item<bool>());
    check_equal(at::cat(pushed(*model, codes, {7, 30, 1, 1, 100, 11})), wanted, "odd pieces");
    const std::vector<at::Tensor> pieces = pushed(*model, codes, std::vector<int64_t>(150, 1));
    check_equal(at::cat(pieces), wanted, "frame by frame");
    // A chunk is final when its context is there: 15 frames behind its end.
    for (const auto& [frames, ready] : {std::pair{33, 0}, {34, 19}, {71, 19}, {72, 57}, {146, 57}, {147, 132}, {150, 132}}) {
      int64_t samples = 0;
      for (int64_t i = 0; i < frames; ++i) samples += pieces[static_cast<size_t>(i)].size(0);
      CAPTURE(frames);
      CHECK(samples == ready * kHop);
    }
  }

  TEST_CASE("earlier output never changes, whatever comes later") {
    const auto model = loaded();
    const at::Tensor codes = codes_of(110), wanted = whole(*model, codes);
    for (const int64_t frames : {72, 80, 109}) {
      at::Tensor other = codes.clone();
      other.narrow(1, frames, 110 - frames).copy_(Numbers(93).integers(1024, {8, 110 - frames}));
      check_equal(whole(*model, other).narrow(0, 0, 57 * kHop), wanted.narrow(0, 0, 57 * kHop), "other codes from " + std::to_string(frames));
      check_equal(whole(*model, codes.narrow(1, 0, frames)).narrow(0, 0, 57 * kHop), wanted.narrow(0, 0, 57 * kHop), "ended at " + std::to_string(frames));
    }
  }

  TEST_CASE("chunks longer than a second are cut evenly, and chunks of a frame or an end behind a chunk are whole") {
    const auto model = loaded();
    const at::Tensor codes = codes_of(200);
    check_equal(whole(*model, codes, request_of({200})), whole(*model, codes, request_of({66, 133, 200})), "200 frames in three windows");
    for (const int64_t frames : {1, 5, 19, 20, 33, 34, 58}) CHECK(whole(*model, codes.narrow(1, 0, frames)).size(0) == frames * kHop);
    CHECK(whole(*model, codes.narrow(1, 0, 12), request_of({1, 2, 3})).size(0) == 12 * kHop);
  }

  TEST_CASE("another seed is another sound, the same seed the same") {
    const auto model = loaded();
    const at::Tensor codes = codes_of(30), first = whole(*model, codes);
    check_equal(whole(*model, codes), first, "again");
    DiffusionRequest other = request_of();
    other.random.seed = 6;
    CHECK(difference(whole(*model, codes, other), first).worst > 1e-3);
  }

  TEST_CASE("no seam is heard where windows meet, and one that is made is found") {
    const auto model = loaded();
    const at::Tensor samples = whole(*model, codes_of(140));
    double worst = 0;
    for (const int64_t end : {19, 57, 132})
      for (const int64_t place : {end * kHop, (end + 4) * kHop}) worst = std::max(worst, seam(samples, place));
    double usual = 0;
    for (int64_t place = 2000; place < 40000; place += 311) usual = std::max(usual, seam(samples, place));
    if (settings().report) std::cerr << "    at seams " << worst << ", elsewhere up to " << usual << '\n';
    CHECK(worst <= std::max(1.2, usual));
    // What a window says of the time behind it, cut in without a fade and a little louder.
    at::Tensor broken = samples.clone();
    broken.narrow(0, 57 * kHop, 2000).add_(2 * samples.abs().max());
    CHECK(seam(broken, 57 * kHop) > std::max(1.5, usual));
  }

  TEST_CASE("a window that overflows in 16 bit is sampled again in float32, alone") {
    // In float16 the last convolution goes beyond its largest number; the norm before it takes no notice.
    const DiffusionSizes sizes{.channels = {4, 8, 8, 8}, .bands = 2, .latent = 16};
    Tensors tensors = random_diffusion(sizes, 91);
    for (const char* half : {"norm2.weight", "norm2.bias"}) tensors[std::string("bands.0.decoders.3.res_blocks.0.") + half] *= 3e4;
    tensors["bands.0.decoders.3.res_blocks.0.conv2.weight"] *= 40;
    for (auto& [name, tensor] : tensors) tensor = tensor.to(at::kHalf).to(at::kFloat);
    for (const at::Device& device : devices()) {
      const auto exact = loaded(device, at::kFloat, tensors), half = loaded(device, at::kHalf, tensors);
      const at::Tensor codes = codes_of(60);
      WindowedDiffusion windows(*half, request_of());
      windows.add(codes, true);
      const at::Tensor found = windows.speak(60);
      CHECK(windows.redone() == 3);
      check_wave(found, whole(*exact, codes), kWaveTolerance, "redone on " + device.str());
    }
  }

  TEST_CASE("what is not finite in float32 either is refused") {
    const DiffusionSizes sizes{.channels = {4, 8, 8, 8}, .bands = 2, .latent = 16};
    Tensors tensors = random_diffusion(sizes, 91);
    tensors["bands.1.conv_codec.bias"][0] = std::numeric_limits<float>::infinity();
    const auto model = loaded(at::kCPU, at::kFloat, tensors);
    check_refused([&] { whole(*model, codes_of(30)); }, "ERR_NUMERIC", "diffusion decoder");
    check_refused([&] { engine::diffuse(*model, codes_of(30), 1, {}, 4, {}); }, "ERR_NUMERIC", "diffusion decoder");
  }
}
