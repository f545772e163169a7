#include "models/speaker_encoder.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::SpeakerEncoder;

namespace {

at::Tensor golden_speech() {
  const std::vector<int64_t> trim = to_vector(numbers("speaker.trim"));
  return wav_samples("speaker_16k.wav").narrow(0, trim[0], trim[1] - trim[0]);
}

std::vector<int64_t> flat(const std::vector<std::pair<int64_t, int64_t>>& slices, int64_t scale = 1) {
  std::vector<int64_t> result;
  for (const auto& [first, last] : slices) {
    result.push_back(first * scale);
    result.push_back(last * scale);
  }
  return result;
}

Tensors random_encoder(int64_t layers, int64_t hidden, int64_t width) {
  Numbers numbers(71);
  Tensors tensors;
  for (int64_t i = 0; i < layers; ++i) {
    const std::string suffix = "_l" + std::to_string(i);
    tensors["lstm.weight_ih" + suffix] = numbers.normal({4 * hidden, i == 0 ? 40 : hidden}, 0.3);
    tensors["lstm.weight_hh" + suffix] = numbers.normal({4 * hidden, hidden}, 0.3);
    tensors["lstm.bias_ih" + suffix] = numbers.normal({4 * hidden}, 0.3);
    tensors["lstm.bias_hh" + suffix] = numbers.normal({4 * hidden}, 0.3);
  }
  tensors["linear.weight"] = numbers.normal({width, hidden}, 1);
  tensors["linear.bias"] = numbers.normal({width}, 0.3);
  return tensors;
}

}  // namespace

TEST_SUITE("models/speaker_encoder") {
  TEST_CASE("refuses nothing to embed, and tensors that are not its own") {
    const SpeakerEncoder encoder(opened(random_encoder(1, 4, 6)));
    check_refused([&] { encoder.embed(at::empty({0})); }, "ERR_INTERNAL", "samples to embed");
    Tensors tensors = random_encoder(1, 4, 6);
    tensors["similarity_weight"] = at::ones({1});
    check_refused([&] { SpeakerEncoder{opened(tensors)}; }, "ERR_CHECKPOINT", "similarity_weight");
    tensors = random_encoder(1, 4, 6);
    tensors["lstm.weight_ih_l0"] = at::ones({16, 80});
    check_refused([&] { SpeakerEncoder{opened(tensors)}; }, "ERR_CHECKPOINT", "[16, 40] but found [16, 80]");
  }

  TEST_CASE("plans the golden slices for every length") {
    for (const int64_t samples : {8000, 25599, 25600, 40000, 48000, 160000, 500000}) {
      CAPTURE(samples);
      CHECK(flat(SpeakerEncoder::slices(samples)) == to_vector(numbers("speaker.plan." + std::to_string(samples))));
    }
    CHECK(flat(SpeakerEncoder::slices(golden_speech().size(0)), 160) == to_vector(numbers("speaker.slices")));
  }

  TEST_CASE("plans the slices of the specification's examples") {
    const auto half_minute = SpeakerEncoder::slices(480000);
    CHECK(half_minute.size() == 38);
    CHECK(half_minute.back() == std::pair<int64_t, int64_t>{455840 / 160, 481440 / 160});
    const auto six_seconds = SpeakerEncoder::slices(100000);
    CHECK(six_seconds.size() == 7);
    CHECK(six_seconds.back() == std::pair<int64_t, int64_t>{73920 / 160, 99520 / 160});
    CHECK(SpeakerEncoder::slices(16000) == std::vector<std::pair<int64_t, int64_t>>{{0, 160}});
    CHECK(SpeakerEncoder::slices(1).size() == 1);
  }

  TEST_CASE("gives the golden mel frames, slice vectors and embedding") {
    for (const at::Device& device : devices()) {
      const SpeakerEncoder encoder(model_weights("speaker_encoder", device));
      const at::Tensor speech = golden_speech(), mel = encoder.mel(speech).cpu();
      // Of the signal padded to its last slice.
      CHECK(mel.size(0) == 1 + 99520 / 160);
      check_close(mel.narrow(0, 0, 400), golden("speaker", "mel"), kSpectrumTolerance, "mel on " + device.str());
      check_close(encoder.partials(speech).cpu(), golden("speaker", "partials"), kEmbeddingTolerance, "slice vectors on " + device.str());
      check_close(encoder.embed(speech).cpu(), golden("speaker", "embedding"), kEmbeddingTolerance, "embedding on " + device.str());
    }
  }

  TEST_CASE("an embedding is of unit length and not negative, also of half a second") {
    const SpeakerEncoder encoder(model_weights("speaker_encoder", at::kCPU));
    for (const int64_t samples : {1, 8000, 25600, 60000}) {
      const at::Tensor embedding = encoder.embed(golden_speech().narrow(0, 20000, samples));
      CAPTURE(samples);
      CHECK(at::norm(embedding).item<double>() == doctest::Approx(1).epsilon(1e-5));
      CHECK(embedding.min().item<float>() >= 0);
    }
  }

  TEST_CASE("encoders of other sizes are the plain formula") {
    for (const at::Device& device : devices()) {
      for (const auto& [layers, hidden, width] : {std::tuple<int64_t, int64_t, int64_t>{1, 5, 8}, {2, 12, 7}, {3, 8, 32}}) {
        const Tensors tensors = random_encoder(layers, hidden, width);
        const SpeakerEncoder encoder(opened(tensors, {device, at::kFloat}));
        CHECK(encoder.width() == width);
        const at::Tensor speech = golden_speech().narrow(0, 0, 45000), mel = encoder.mel(speech);
        at::Tensor sum = at::zeros({width}, at::kDouble);
        for (const auto& [first, last] : SpeakerEncoder::slices(45000)) {
          const at::Tensor hidden_state = plain::lstm(tensors, "lstm", mel.narrow(0, first, last - first))[159];
          const at::Tensor raw = plain::linear(tensors, "linear", hidden_state.view({1, -1}))[0].clamp_min(0);
          sum = sum + raw / at::norm(raw);
        }
        check_close(encoder.embed(speech), sum / at::norm(sum), kEmbeddingTolerance, std::to_string(layers) + " layers on " + device.str());
      }
    }
  }
}
