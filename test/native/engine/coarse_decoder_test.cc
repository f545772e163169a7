#include "engine/coarse_decoder.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::CoarseDecoder;
using engine::CoarseRequest;

namespace {

models::FirstStage stage_of(const Tensors& tensors) { return {opened(tensors), first_config_of(tensors)}; }

void run(CoarseDecoder& decoder) {
  decoder.prefill();
  while (!decoder.ended()) decoder.step();
}

at::Tensor spoken(const models::FirstStage& stage, const CoarseRequest& request) {
  CoarseDecoder decoder(stage, request);
  run(decoder);
  return decoder.codes(0, decoder.frames());
}

}  // namespace

TEST_SUITE("engine/coarse_decoder") {
  TEST_CASE("refuses no text, and a text that fills the window") {
    const models::FirstStage stage = stage_of(small_first_stage(16));
    CoarseRequest request = small_request().coarse;
    for (const size_t letters : {0, 16, 17}) {
      request.text.assign(letters, 33);
      check_refused([&] { CoarseDecoder(stage, request); }, "ERR_TEXT_TOO_LONG",
                    "expected between 1 and 15 text tokens in one segment but found " + std::to_string(letters));
    }
    request.text.assign(15, 33);
    CHECK_NOTHROW(CoarseDecoder(stage, request));
  }

  TEST_CASE("refuses steps before the prompt and after the end") {
    const models::FirstStage stage = stage_of(ending_after(1));
    CoarseDecoder decoder(stage, small_request().coarse);
    check_refused([&] { decoder.step(); }, "ERR_INTERNAL", "an utterance that goes on");
    run(decoder);
    CHECK(decoder.stopped());
    check_refused([&] { decoder.step(); }, "ERR_INTERNAL", "an utterance that goes on");
  }

  TEST_CASE("follows the model: two ids a frame, sorted into codebooks, up to the end of audio") {
    for (const int64_t frames : {0, 1, 5, 29}) {
      const models::FirstStage stage = stage_of(ending_after(frames));
      CoarseDecoder decoder(stage, small_request().coarse);
      CHECK_FALSE(decoder.started());
      run(decoder);
      CAPTURE(frames);
      CHECK(decoder.frames() == frames);
      CHECK(decoder.steps() == 2 * frames + 1);
      CHECK(decoder.stopped());
      const at::Tensor codes = decoder.codes(0, frames);
      for (int64_t i = 0; i < 2 * frames; ++i) CHECK(codes[i % 2][i / 2].item<int64_t>() == (i % 2 == 0 ? i % 16 : (3 * i) % 16));
      if (frames > 2) check_equal(decoder.codes(1, 3), codes.narrow(1, 1, 2), "a range of frames");
    }
  }

  TEST_CASE("constrained, codebooks take turns whatever the model wants, and only a whole frame can be followed by the end") {
    // The model wants text, the other codebook, or the end, each at the wrong time.
    for (const int64_t wanted : {35, 3, 20, 32}) {
      const models::FirstStage stage = stage_of([&] {
        Tensors tensors = scripted_first_stage(std::vector<int64_t>(64, wanted), kSmallVocabulary);
        tensors["speaker.weight"] = at::zeros({64, 5});
        return tensors;
      }());
      CoarseRequest request = small_request().coarse;
      CoarseDecoder decoder(stage, request);
      decoder.prefill();
      CAPTURE(wanted);
      int64_t steps = 1;
      while (!decoder.ended()) {
        CHECK(decoder.frames() == steps / 2);
        decoder.step();
        ++steps;
      }
      if (wanted == 32) CHECK(steps == 1);
      if (wanted == 3) CHECK_FALSE(decoder.stopped());
      if (decoder.stopped()) CHECK(steps % 2 == 1);
      const at::Tensor codes = decoder.codes(0, decoder.frames());
      if (wanted == 3) check_equal(codes[0], at::full({decoder.frames()}, 3, at::kLong), "codebook 0 has its wish");
      if (wanted == 20) check_equal(codes[1], at::full({decoder.frames()}, 4, at::kLong), "codebook 1 has its wish");
      CHECK((codes >= 0).logical_and(codes < 16).all().item<bool>());
    }
  }

  TEST_CASE("free ids are sorted as the reference sorts them: the golden adapter cases") {
    for (int64_t index = 0; index < 4; ++index) {
      const std::vector<int64_t> ids = to_vector(numbers("adapter." + std::to_string(index) + ".ids"));
      const at::Tensor wanted = numbers("adapter." + std::to_string(index) + ".codes");
      CAPTURE(index);
      const int64_t letters = 1;
      // Everything after the first id is an answer; the position of each id is one before its own.
      std::vector<int64_t> script(ids.begin() + letters, ids.end());
      script.resize(64, 2048);
      models::FirstStageConfig config = golden_first_config();
      Tensors tensors = scripted_first_stage(script, 2562);
      tensors["speaker.weight"] = at::zeros({64, 5});
      const models::FirstStage stage(opened(tensors), config);
      CoarseRequest request = small_request().coarse;
      request.text = {ids[0]};
      request.constrain = false;
      request.maximum_frames = 100;
      check_equal(spoken(stage, request), wanted, "codes");
    }
  }

  TEST_CASE("goes on behind what was spoken before as if it had just said it") {
    const models::FirstStage stage = stage_of(small_first_stage(256));
    CoarseRequest request = small_request().coarse;
    request.sampling = {1, 0, 0};  // greedy, so that the number of a draw does not matter
    const at::Tensor all = spoken(stage, request);
    REQUIRE(all.size(1) > 20);
    for (const int64_t frames : {1, 7, 20}) {
      CoarseRequest later = request;
      later.context = all.narrow(1, 0, frames).contiguous();
      later.maximum_frames = request.maximum_frames - frames;
      check_equal(spoken(stage, later), all.narrow(1, frames, all.size(1) - frames), "behind " + std::to_string(frames));
    }
    request.context = at::full({2, 3}, 16);
    check_refused([&] { spoken(stage, request); }, "ERR_INTERNAL", "codes of a codebook");
    request.context = at::zeros({2, 126}, at::kLong);
    check_refused([&] { spoken(stage, request); }, "ERR_INTERNAL", "room in the window behind the text");
  }

  TEST_CASE("never draws more ids than the window or the asked length hold") {
    const Tensors endless = [] {
      Tensors tensors = scripted_first_stage(std::vector<int64_t>(20, 3), kSmallVocabulary);
      tensors["speaker.weight"] = at::zeros({20, 5});
      return tensors;
    }();
    const models::FirstStage stage = stage_of(endless);
    CoarseRequest request = small_request().coarse;  // 4 letters
    for (const int64_t maximum : {0, 1, 5, 7, 8, 1000}) {
      request.maximum_frames = maximum;
      CoarseDecoder decoder(stage, request);
      run(decoder);
      CAPTURE(maximum);
      // 20 - 4 ids fit; otherwise two a frame and the one after, which may be the end.
      CHECK(decoder.steps() == std::min<int64_t>(16, 2 * maximum + 1));
      CHECK(decoder.frames() == std::min<int64_t>(8, maximum));
      CHECK_FALSE(decoder.stopped());
    }
  }

  TEST_CASE("the same request gives the same ids; seed, segment and try each change them") {
    const models::FirstStage stage = stage_of(small_first_stage(256));
    const CoarseRequest request = small_request().coarse;
    const at::Tensor codes = spoken(stage, request);
    REQUIRE(codes.size(1) > 10);
    check_equal(spoken(stage, request), codes, "again");
    for (const core::RandomKey& key : {core::RandomKey{8, 0, 0}, {7, 1, 0}, {7, 0, 1}}) {
      CoarseRequest other = request;
      other.random = key;
      const at::Tensor found = spoken(stage, other);
      CHECK_FALSE(at::equal(found, codes));
    }
  }

  TEST_CASE("a small temperature, top-p 0 and top-k 1 all speak greedily") {
    const models::FirstStage stage = stage_of(small_first_stage(128));
    CoarseRequest request = small_request().coarse;
    request.sampling = {1, 0, 0};
    const at::Tensor greedy = spoken(stage, request);
    for (const ops::SamplingSettings& settings : {ops::SamplingSettings{1e-6F, 1, 0}, {1, 1, 1}}) {
      request.sampling = settings;
      request.random.seed += 1;
      check_equal(spoken(stage, request), greedy, "greedy");
    }
  }

  TEST_CASE("speaker and prompt guidance change what is said, and guidance 1 ignores the other rows") {
    const models::FirstStage stage = stage_of(small_first_stage(128));
    CoarseRequest request = small_request().coarse;
    const at::Tensor usual = spoken(stage, request);
    request.guidance = {3, 2};
    const at::Tensor three = spoken(stage, request);
    CHECK_FALSE(at::equal(three, usual));
    request.guidance = {1, 1};
    const at::Tensor plain_guidance = spoken(stage, request);
    request.speaker = request.speaker * 2;
    const at::Tensor other_speaker = spoken(stage, request);
    CHECK_FALSE(at::equal(other_speaker, plain_guidance));
    // Guidance 0 hears no speaker at all.
    request.guidance = {0, 1};
    const at::Tensor deaf = spoken(stage, request);
    request.speaker = -request.speaker;
    check_equal(spoken(stage, request), deaf, "guidance 0");
  }

  TEST_CASE("speaks on every device in every dtype") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        const Tensors tensors = small_first_stage(64);
        const models::FirstStage stage(opened(tensors, {device, dtype}), first_config_of(tensors));
        CoarseRequest request = small_request(7, 12).coarse;
        const at::Tensor codes = spoken(stage, request);
        CAPTURE(device.str());
        CHECK(codes.size(1) > 0);
        check_equal(spoken(stage, request), codes, "again");
      }
    }
  }
}
