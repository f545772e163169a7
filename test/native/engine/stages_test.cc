#include "engine/stages.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/diffusion.h"
#include "support/fixtures.h"
#include "ops/resample.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::SpeechModel;

TEST_SUITE("engine/stages") {
  TEST_CASE("refuses what does not fit") {
    const SpeechModel model(golden_description(at::kCPU));
    const at::Tensor speaker = golden("llm", "speaker");
    check_refused([&] { engine::second_stage_logits(model, at::full({1000}, 1100), at::zeros({2, 25}, at::kLong), speaker); }, "ERR_INTERNAL",
                  "inside the window of the second stage");
    check_refused([&] { engine::encode(model, at::empty({0}), 24000); }, "ERR_INTERNAL", "samples to encode");
    const at::Tensor codes = at::zeros({8, 20}, at::kLong);
    check_refused([&] { engine::decode(model, codes, {7, 12}); }, "ERR_INTERNAL", "pieces that add up");
    check_refused([&] { engine::decode(model, codes, {6, 14}); }, "ERR_INTERNAL", "as long as the codec's first kernel");
    check_refused([&] { engine::first_stage_logits(model, at::full({2049}, 2100), speaker, 2049); }, "ERR_INTERNAL", "inside the window of the first stage");
    check_refused([&] { engine::first_stage_logits(model, at::full({9}, 2100), speaker, 0); }, "ERR_INTERNAL", "a prompt of the ids");
  }

  TEST_CASE("refuses silence as a voice, with its length") {
    const SpeechModel model(golden_description(at::kCPU));
    check_refused([&] { engine::embed_speaker(model, at::zeros({24000}), 16000); }, "ERR_REFERENCE_AUDIO", "found silence");
    check_refused([&] { engine::embed_speaker(model, at::empty({0}), 16000); }, "ERR_REFERENCE_AUDIO", "found silence");
  }

  TEST_CASE("give the golden values end to end") {
    for (const at::Device& device : devices()) {
      const SpeechModel model(golden_description(device));
      const at::Tensor speaker = golden("llm", "speaker"), prompt = numbers("prompt");
      const std::string name = " on " + device.str();
      check_close(engine::first_stage_logits(model, prompt, speaker, prompt.size(0)), golden("llm", "first.prefill_logits"), logit_tolerance(at::kFloat), "prefill" + name);

      check_close(engine::first_stage_logits(model, prompt, speaker, 5), golden("llm", "first.prefill_logits"), logit_tolerance(at::kFloat), "step by step" + name);

      const std::vector<int64_t> ids = to_vector(numbers("first.greedy"));
      const std::vector<int32_t> greedy = engine::first_stage_greedy(model, prompt, speaker, 3, static_cast<int64_t>(ids.size()));
      CHECK(std::vector<int64_t>(greedy.begin(), greedy.end()) == ids);

      const at::Tensor text = golden("llm", "second.input").to(at::kLong)[0][0].narrow(0, 0, numbers("second.columns")[0].item<int64_t>());
      check_close(engine::second_stage_logits(model, text, numbers("second.codes"), speaker), golden("llm", "second.logits"), logit_tolerance(at::kFloat), "second" + name);

      const engine::EmbeddedSpeaker embedded = engine::embed_speaker(model, wav_samples("speaker_16k.wav"), 16000);
      CHECK(std::vector<int64_t>{embedded.trim_start, embedded.trim_end} == to_vector(numbers("speaker.trim")));
      CHECK(embedded.samples == 110000);
      check_close(embedded.embedding, golden("speaker", "embedding"), kEmbeddingTolerance, "embedding" + name);

      check_equal(engine::encode(model, golden("codec", "wav"), 24000), golden("codec", "codes").to(at::kLong), "codes" + name);
      const at::Tensor codes = golden("codec", "random_codes").to(at::kLong);
      for (const std::vector<int64_t>& pieces : {std::vector<int64_t>{}, {113}, {7, 106}, {19, 38, 56}})
        check_wave(engine::decode(model, codes, pieces), golden("codec", "random_decoded"), kWaveTolerance, "decoded" + name);
    }
  }

  TEST_CASE("from pages in int8 the golden model takes nearly the golden ids, each behind what was golden before it") {
    for (const at::Device& device : devices()) {
      engine::ModelDescription description = golden_description(device);
      description.pages = at::kChar;
      const SpeechModel model(description);
      const at::Tensor speaker = golden("llm", "speaker"), prompt = numbers("prompt");
      const std::vector<int64_t> ids = to_vector(numbers("first.greedy"));
      const std::vector<int32_t> greedy = engine::first_stage_greedy(model, prompt, speaker, 3, static_cast<int64_t>(ids.size()));
      const auto same = std::mismatch(greedy.begin(), greedy.end(), ids.begin(), ids.end()).first - greedy.begin();
      MESSAGE(same << " of " << ids.size() << " ids on " << device.str());
      CHECK(same == static_cast<int64_t>(ids.size()));
    }
  }

  TEST_CASE("diffusion gives the golden signal of the given noise, and a signal of its own from a seed") {
    for (const at::Device& device : devices()) {
      engine::ModelDescription description = golden_description(device);
      description.diffusion = {model_file("diffusion"), golden_diffusion_config()};
      const SpeechModel model(description);
      const at::Tensor codes = golden("diffusion", "codes").to(at::kLong), noise = golden("diffusion", "noise").to(at::kFloat);
      check_wave(engine::diffuse(model, codes, 0, noise, 20, {}), golden("diffusion", "equalized"), kWaveTolerance, "diffused on " + device.str());
      check_refused([&] { engine::diffuse(model, codes, 0, noise, 19, {}); }, "ERR_INTERNAL", "noise for every band");
      const at::Tensor drawn = engine::diffuse(model, codes.narrow(1, 0, 9), 3, {}, 2, {});
      CHECK(drawn.size(0) == 9 * 320);
      check_equal(engine::diffuse(model, codes.narrow(1, 0, 9), 3, {}, 2, {}), drawn, "again");
    }
  }

  TEST_CASE("the enhancer gives the golden signal, as many seconds from another rate, and takes no nothing") {
    const SpeechModel model(golden_description(at::kCPU));
    const at::Tensor samples = golden("enhancer_whole", "samples");
    const engine::EnhancedSignal enhanced = engine::enhance(model, samples, 48000);
    CHECK(enhanced.sample_rate == 48000);
    check_wave(enhanced.samples, golden("enhancer_whole", "enhanced"), kWaveTolerance, "signal");
    CHECK(engine::enhance(model, samples.narrow(0, 0, 2001), 24000).samples.size(0) == 4002);
    check_refused([&] { engine::enhance(model, at::empty({0}), 48000); }, "ERR_INTERNAL", "samples to enhance");
    check_refused([&] { engine::enhance(model, at::full({9}, INFINITY), 48000); }, "ERR_NUMERIC", "recording");
    const auto found = engine::enhance_spectrum(model, golden("enhancer", "spec").view(-1), golden("enhancer", "feat_erb").view(-1), golden("enhancer", "feat_spec").view(-1));
    check_close(found.gains, golden("enhancer", "mask"), kSpectrumTolerance, "gains");
    check_close(found.spectrum, golden("enhancer", "enhanced"), kSpectrumTolerance, "spectrum");
  }

  TEST_CASE("diffusion and the enhancer end before their end once they are stopped") {
    engine::ModelDescription description = golden_description(at::kCPU);
    description.diffusion = {model_file("diffusion"), golden_diffusion_config()};
    const SpeechModel model(description);
    const at::Tensor codes = golden("diffusion", "codes").to(at::kLong);
    int asked = 0;
    const auto third_time = [&] { return ++asked > 2; };
    const auto check_stopped = [&](const auto& work) {
      asked = 0;
      check_refused(work, "ABORT_ERR", "cancelled");
      CHECK(asked == 3);
    };
    check_stopped([&] { engine::diffuse(model, codes, 3, {}, 20, {}, third_time); });
    check_stopped([&] { engine::diffuse(model, codes, 3, {}, 20, {4, 8}, third_time); });
    check_stopped([&] { engine::enhance(model, at::zeros({480000}), 48000, third_time); });
    const auto flat = [](const char* name) { return golden("enhancer", name).view(-1); };
    check_stopped([&] { engine::enhance_spectrum(model, flat("spec"), flat("feat_erb"), flat("feat_spec"), third_time); });
  }

  TEST_CASE("an embedding from another rate is the same voice") {
    const SpeechModel model(golden_description(at::kCPU));
    const at::Tensor samples = wav_samples("speaker_16k.wav");
    const at::Tensor fast = engine::embed_speaker(model, ops::resample(samples, 16000, 48000), 48000).embedding;
    check_close(fast, golden("speaker", "embedding"), 1e-3, "through 48 kHz");
  }

  TEST_CASE("greedy decoding stops at the end of audio, which it includes, and at the window's end") {
    const std::vector<int64_t> script = {3, 20, 4, 21, 32, 5, 5, 5};
    Tensors tensors = scripted_first_stage(script, kSmallVocabulary);
    tensors["speaker.weight"] = at::zeros({8, 5});
    const auto model = SmallModel(tensors, small_second_stage(32)).load();
    const auto greedy = [&](int64_t letters, int64_t steps) {
      return engine::first_stage_greedy(*model, at::full({letters}, 33), at::ones({5}), 3, steps);
    };
    CHECK(greedy(1, 100) == std::vector<int32_t>{3, 20, 4, 21, 32});
    CHECK(greedy(1, 3) == std::vector<int32_t>{3, 20, 4});
    CHECK(greedy(5, 100) == std::vector<int32_t>{32});
    CHECK(greedy(6, 100) == std::vector<int32_t>{5, 5});
    CHECK(greedy(8, 100).empty());
    CHECK(greedy(1, 0).empty());
    // The same through pages of int8, up to the window's end.
    SmallModel small(tensors, small_second_stage(32));
    small.description.pages = at::kChar;
    const auto in_bytes = small.load();
    CHECK((in_bytes->first_stage().page_dtype() == at::kChar));
    CHECK(engine::first_stage_greedy(*in_bytes, at::full({1}, 33), at::ones({5}), 3, 100) == std::vector<int32_t>{3, 20, 4, 21, 32});
    CHECK(engine::first_stage_greedy(*in_bytes, at::full({6}, 33), at::ones({5}), 3, 100) == std::vector<int32_t>{5, 5});
  }
}
