#include "models/encodec/seanet.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"
#include "support/plain_codec.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::models::encodec;

namespace {

const std::vector<int64_t> kRatios = {8, 5, 4, 2};

Decoder golden_decoder(at::Device device) { return Decoder(model_weights("codec", device).scope("decoder"), 16, kRatios); }

at::Tensor in_pieces(const Decoder& decoder, const at::Tensor& latent, const std::vector<int64_t>& lengths) {
  DecoderState state;
  std::vector<at::Tensor> pieces;
  int64_t first = 0;
  for (const int64_t length : lengths) {
    pieces.push_back(decoder.step(latent.narrow(1, first, length), state));
    first += length;
  }
  REQUIRE(first == latent.size(1));
  return at::cat(pieces);
}

std::vector<CodecSizes> variants() {
  return {{}, {.ratios = {2, 2, 2}, .dimension = 3, .filters = 2, .lstm_layers = 1},
          {.ratios = {5}, .filters = 6, .kernel = 5, .weight_norm = false}, {.ratios = {3, 2}, .lstm_layers = 0, .shortcut = false}};
}

}  // namespace

TEST_SUITE("models/encodec/seanet") {
  TEST_CASE("refuses ratios that are not the file's") {
    check_refused([] { Decoder(opened(random_codec({}, 1)).scope("decoder"), 6, {3, 4}); }, "ERR_CHECKPOINT", "decoder.3.weight_v");
    check_refused([] { Decoder(opened(random_codec({}, 1)).scope("decoder"), 5, {4, 3}); }, "ERR_CHECKPOINT", "decoder.0.weight_v");
    check_refused([] { Encoder(opened(random_codec({}, 1)).scope("encoder"), 6, {4, 3, 2}); }, "ERR_CHECKPOINT", "encoder.");
  }

  TEST_CASE("the encoder gives the golden latent") {
    for (const at::Device& device : devices()) {
      const Encoder encoder(model_weights("codec", device).scope("encoder"), 16, kRatios);
      check_close(encoder.forward(golden("codec", "wav").to(device)).cpu(), golden("codec", "encoder"), 2e-4, "encoder on " + device.str());
    }
  }

  TEST_CASE("the decoder gives the golden wave of the golden latent") {
    for (const at::Device& device : devices()) {
      DecoderState state;
      const at::Tensor found = golden_decoder(device).step(golden("codec", "random_latent").to(device), state).cpu();
      check_wave(found, golden("codec", "random_decoded"), kWaveTolerance, "decoder on " + device.str());
    }
  }

  TEST_CASE("pieces equal the whole at every cut, in frames of one, and at odd lengths") {
    for (const at::Device& device : devices()) {
      const Decoder decoder = golden_decoder(device);
      const at::Tensor latent = golden("codec", "random_latent").narrow(1, 0, 60).contiguous().to(device);
      const at::Tensor whole = in_pieces(decoder, latent, {60});
      CHECK(decoder.first_frames() == 7);
      CHECK(decoder.hop() == 320);
      std::vector<std::vector<int64_t>> cuts = {{19, 38, 3}, {7, 53}, {59, 1}, {10, 1, 20, 2, 27}};
      cuts.emplace_back(54, 1);
      cuts.back()[0] = 7;
      for (int64_t cut = 7; cut < 60; cut += 4) cuts.push_back({cut, 60 - cut});
      double worst = 0;
      for (const auto& lengths : cuts) worst = std::max(worst, difference(in_pieces(decoder, latent, lengths), whole).worst);
      const double peak = whole.abs().max().item<double>();
      if (settings().report) std::cerr << "    pieces on " << device.str() << ": off by " << worst << " of a peak of " << peak << '\n';
      CHECK(worst < 1e-5 * peak + 1e-7);
    }
  }

  TEST_CASE("codecs of other sizes are the plain formula: ratios, kernels, depth of the LSTM, plain weights, no shortcut") {
    for (const at::Device& device : devices()) {
      for (const CodecSizes& sizes : variants()) {
        const Tensors tensors = random_codec(sizes, 82);
        const core::Weights weights = opened(tensors, {device, at::kFloat});
        const Decoder decoder(weights.scope("decoder"), sizes.dimension, sizes.ratios);
        const std::string name = std::to_string(sizes.ratios.size()) + " levels on " + device.str();
        CHECK(decoder.first_frames() == sizes.kernel);
        // Also utterances shorter than the first kernel.
        for (const int64_t frames : {1, 2, 3, 6, 7, 20}) {
          const at::Tensor latent = Numbers(83).normal({sizes.dimension, frames}, 1);
          const at::Tensor wanted = plain::decoder(tensors, latent, sizes.ratios);
          CHECK(wanted.size(0) == frames * decoder.hop());
          check_wave(in_pieces(decoder, latent.to(device), {frames}), wanted, 1e-5, std::to_string(frames) + " frames, " + name);
        }
        const Encoder encoder(weights.scope("encoder"), sizes.dimension, sizes.ratios);
        for (const int64_t samples : {1, 5, 11, 12, 13, 100}) {
          const at::Tensor wave = Numbers(84).normal({samples}, 1);
          const at::Tensor wanted = plain::encoder(tensors, wave, sizes.ratios);
          check_close(encoder.forward(wave.to(device)), wanted, kSameTolerance, std::to_string(samples) + " samples, " + name);
        }
      }
    }
  }

  TEST_CASE("two utterances with states of their own do not touch each other") {
    const Decoder decoder = golden_decoder(at::kCPU);
    const at::Tensor latent = golden("codec", "random_latent"), first = latent.narrow(1, 0, 20), second = latent.narrow(1, 40, 20);
    const at::Tensor wanted = in_pieces(decoder, second, {10, 10});
    DecoderState one, other;
    decoder.step(first.narrow(1, 0, 10), one);
    const at::Tensor start = decoder.step(second.narrow(1, 0, 10), other);
    decoder.step(first.narrow(1, 10, 10), one);
    check_equal(at::cat({start, decoder.step(second.narrow(1, 10, 10), other)}), wanted, "interleaved");
  }
}
