// Speech by diffusion that fails on its way: what was handed out stays, what comes is the failure, and others go on.
#include <doctest.h>

#include <filesystem>

#include "engine/scheduler.h"
#include "engine/utterance.h"
#include "support/compare.h"
#include "support/diffusion.h"
#include "support/failing_allocator.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::SpeechModel;
using engine::Utterance;
using engine::UtteranceRequest;

namespace {

// Ten frames a second, so that a window has 10 frames and 2 of context.
struct Diffusing : SmallModel {
  explicit Diffusing(const Tensors& first = small_first_stage(256), const Tensors& decoder = random_diffusion({}, 5),
                     const Tensors& codec = random_codec({}, 3))
      : SmallModel(first, small_second_stage(96)) {
    write_safetensors(folder.file("codec"), codec);
    write_safetensors(folder.file("diffusion"), decoder);
    description.codec->config.sample_rate = 120;
    description.diffusion = {folder.file("diffusion"), config_of({})};
    description.diffusion->config.sample_rate = 120;
  }
};

UtteranceRequest diffused(uint64_t seed = 7, int64_t frames = 30) {
  UtteranceRequest request = small_request(seed, frames);
  request.diffusion_steps = 2;
  return request;
}

// Says even codes of the first codebook, but 15 in one frame; and networks that only that code is too much for: its latent
// has a number that the codec's own decoder does not read, and diffusion can't hold.
constexpr int64_t kPoisonedFrame = 20;
std::shared_ptr<const SpeechModel> poisoned() {
  std::vector<int64_t> script = script_of(4, 40, 96);
  script[3 + 2 * kPoisonedFrame] = 15;
  Tensors first = scripted_first_stage(script, kSmallVocabulary);
  first["speaker.weight"] = at::zeros({first.at("positions.weight").size(1), 5});
  Tensors codec = random_codec({}, 3), decoder = random_diffusion({}, 5);
  codec["quantizer.0.embed"][15].zero_();
  codec["quantizer.0.embed"][15][0] = 3e38;
  codec["decoder.0.weight_v"].select(1, 0).zero_();
  for (const char* band : {"bands.0", "bands.1"}) decoder[std::string(band) + ".conv_codec.weight"].select(1, 0).fill_(4);
  const Diffusing model(first, decoder, codec);
  const auto loaded = model.load();
  loaded->diffusion();  // while its file is there
  return loaded;
}

}  // namespace

TEST_SUITE("engine/diffusion_failures") {
  TEST_CASE("numbers that are not finite end a speech behind the chunks that were handed out, and harm no other") {
    const auto model = poisoned();
    // The chunks end at 7, 12 and 22 frames, and see two frames more.
    const Spoken healthy = speak(model, diffused(7, kPoisonedFrame - 1));
    CHECK_FALSE(healthy.failure);
    const Spoken spoken = speak(model, diffused());
    REQUIRE(spoken.chunks.size() == 2);
    for (size_t i = 0; i < 2; ++i) {
      CHECK(spoken.chunks[i].samples == healthy.chunks[i].samples);
      CHECK(spoken.chunks[i].codes == healthy.chunks[i].codes);
    }
    CHECK(code_of(spoken.failure) == "ERR_NUMERIC");
    check_refused([&] { std::rethrow_exception(spoken.failure); }, "ERR_NUMERIC", "diffusion decoder");

    // Beside it, and in its place behind it, others say what they say alone.
    engine::Scheduler scheduler(2);
    Signal told;
    const auto failing = std::make_shared<Utterance>(model, diffused(), [&] { told.notify(); });
    const auto other = std::make_shared<Utterance>(model, diffused(7, kPoisonedFrame - 1), [&] { told.notify(); });
    const auto heard = [&](Utterance& utterance) {
      Spoken result;
      for (int seen = told.count();; seen = told.wait_past(seen))
        while (auto outcome = utterance.take()) {
          scheduler.wake();
          result.failure = outcome->failure;
          if (!outcome->chunk) return result;
          result.chunks.push_back(std::move(*outcome->chunk));
        }
    };
    scheduler.add(failing);
    scheduler.add(other);
    const Spoken failed = heard(*failing), went_on = heard(*other);
    CHECK(failed.chunks.size() == 2);
    CHECK(code_of(failed.failure) == "ERR_NUMERIC");
    CHECK(same_bytes(went_on, healthy));
  }

  TEST_CASE("memory that runs out behind a chunk that was handed out ends that speech alone, and the next one speaks") {
    const FailingAllocator allocator;
    const Diffusing small;
    const auto model = small.load();
    const UtteranceRequest request = diffused(7, 13);
    const Spoken healthy = speak(model, request);
    REQUIRE(healthy.chunks.size() == 3);
    int64_t failures = 0;
    for (int64_t n = 1;; n += 11) {
      Utterance utterance(model, request, nullptr);
      std::optional<Utterance::Outcome> first;
      while (!(first = utterance.take())) utterance.advance();
      REQUIRE(first->chunk);
      tensor_countdown.arm(n);
      const Spoken rest = speak(utterance);
      const bool fired = tensor_countdown.disarm();
      CAPTURE(n);
      CHECK(first->chunk->samples == healthy.chunks[0].samples);
      for (size_t i = 0; i < rest.chunks.size(); ++i) CHECK(rest.chunks[i].samples == healthy.chunks[i + 1].samples);
      if (!fired) {
        CHECK_FALSE(rest.failure);
        break;
      }
      // libtorch may have got over it by itself.
      if (!rest.failure) continue;
      ++failures;
      const core::Error error = core::translate(rest.failure);
      CHECK((error.code() == "ERR_OUT_OF_MEMORY" || std::string(error.what()).find("could not create") != std::string::npos));
    }
    CHECK(failures > 20);
    CHECK(same_bytes(speak(model, request), healthy));
  }

  TEST_CASE("a decoder that could not be loaded is loaded by the next one who asks") {
    const Diffusing small;
    const std::filesystem::path file = small.folder.file("diffusion"), away = small.folder.file("away");
    const auto model = small.load();
    CHECK_FALSE(model->diffusion_loaded());
    std::filesystem::rename(file, away);
    const Spoken refused = speak(model, diffused());
    CHECK(refused.chunks.empty());
    CHECK(refused.failure);
    CHECK_FALSE(model->diffusion_loaded());
    // Who does not ask for it does not miss it.
    UtteranceRequest plain = diffused();
    plain.diffusion_steps = 0;
    CHECK_FALSE(speak(model, plain).failure);
    std::filesystem::rename(away, file);
    const Spoken spoken = speak(model, diffused());
    CHECK_FALSE(spoken.failure);
    CHECK(model->diffusion_loaded());
    const Diffusing other;
    CHECK(same_bytes(spoken, speak(other.load(), diffused())));
  }

  TEST_CASE("memory that runs out while it is loaded fails that one, whichever allocation it was") {
    const FailingAllocator allocator;
    const Diffusing small;
    const auto model = small.load();
    const Spoken healthy = speak(small.load(), diffused(7, 7));
    bool loaded = false;
    int64_t failures = 0;
    for (int64_t n = 1; !loaded; ++n) {
      tensor_countdown.arm(n);
      try {
        model->diffusion();
        loaded = true;
      } catch (...) {
        ++failures;
        CHECK(code_of(std::current_exception()) == "ERR_OUT_OF_MEMORY");
        CHECK_FALSE(model->diffusion_loaded());
      }
      tensor_countdown.disarm();
    }
    CHECK(failures > 2);
    CHECK(model->diffusion_loaded());
    CHECK(same_bytes(speak(model, diffused(7, 7)), healthy));
  }
}
