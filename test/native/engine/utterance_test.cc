#include "engine/utterance.h"

#include <doctest.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <thread>

#include "engine/stages.h"
#include "engine/utterance_work.h"
#include "ops/running_loudness.h"
#include "support/compare.h"
#include "support/diffusion.h"
#include "support/overflow.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::EndReason;
using engine::Utterance;
using engine::UtteranceRequest;

namespace {

std::shared_ptr<const engine::SpeechModel> endless(int64_t second_window = 96, at::Device device = at::kCPU, at::ScalarType dtype = at::kFloat) {
  return SmallModel(small_first_stage(256), small_second_stage(second_window), device, dtype).load();
}

std::shared_ptr<const engine::SpeechModel> ending(int64_t frames) {
  return SmallModel(ending_after(frames), small_second_stage(96)).load();
}

// With a diffusion decoder; ten frames a second, so that a window has 10 frames and 2 of context.
std::shared_ptr<const engine::SpeechModel> diffusing(at::Device device = at::kCPU) {
  const DiffusionSizes sizes{.channels = {4, 8}, .bands = 2, .latent = 6};
  SmallModel model(small_first_stage(256), small_second_stage(96), device);
  write_safetensors(model.folder.file("diffusion"), random_diffusion(sizes, 5));
  model.description.codec->config.sample_rate = 120;
  model.description.diffusion = {model.folder.file("diffusion"), config_of(sizes)};
  model.description.diffusion->config.sample_rate = 120;
  const auto loaded = model.load();
  loaded->diffusion();  // while its file is there
  return loaded;
}

std::string words_of(const std::exception_ptr& failure) { return failure ? core::translate(failure).what() : ""; }

std::vector<int64_t> lengths(const Spoken& spoken) {
  std::vector<int64_t> result;
  for (const auto& chunk : spoken.chunks) result.push_back(chunk.frames);
  return result;
}

void check_refused_as(const std::shared_ptr<const engine::SpeechModel>& model, const UtteranceRequest& request, const std::string& code,
                      const std::string& words) {
  const Spoken spoken = speak(model, request);
  REQUIRE(spoken.failure);
  CHECK(spoken.chunks.empty());
  check_refused([&] { throw core::translate(spoken.failure); }, code, words);
}

}  // namespace

TEST_SUITE("engine/utterance") {
  TEST_CASE("refuses requests that no model could answer, through the reader") {
    const auto model = endless();
    UtteranceRequest request = small_request();
    request.coarse.text.assign(300, 33);
    check_refused_as(model, request, "ERR_TEXT_TOO_LONG", "between 1 and 255");
    request = small_request();
    request.second_stage_text.assign(96, 17);
    check_refused_as(model, request, "ERR_TEXT_TOO_LONG", "at most 94");
    for (const int64_t id : {int64_t{5}, int64_t{32}, int64_t{41}, int64_t{-1}}) {
      request = small_request();
      request.coarse.text[1] = id;
      check_refused_as(model, request, "ERR_INTERNAL", "text ids of the first stage");
    }
    request = small_request();
    request.coarse.speaker = at::ones({4});
    check_refused_as(model, request, "ERR_INTERNAL", "of the model's width");
  }

  TEST_CASE("refuses chunks that the codec could not begin with, or that shrink") {
    const auto model = endless();
    for (const std::vector<int64_t>& ends : {std::vector<int64_t>{}, {6, 20}, {7, 20, 19}, {7, 7}, {7, 12, 12}}) {
      UtteranceRequest request = small_request();
      request.chunk_ends = ends;
      check_refused_as(model, request, "ERR_INTERNAL", "chunks that grow");
    }
  }

  TEST_CASE("refuses second-stage text that its table does not hold, before any device reads it") {
    for (const int64_t id : {int64_t{25}, int64_t{-1}}) {
      UtteranceRequest request = small_request();
      request.second_stage_text[0] = id;
      check_refused_as(endless(), request, "ERR_INTERNAL", "text ids of the second stage");
    }
  }

  TEST_CASE("a model that ends before the first frame is ERR_NO_AUDIO") {
    check_refused_as(ending(0), small_request(), "ERR_NO_AUDIO", "ended before the first frame of audio");
    UtteranceRequest request = small_request();
    request.whole = true;
    check_refused_as(ending(0), request, "ERR_NO_AUDIO", "ended before the first frame of audio");
    check_refused_as(endless(), small_request(7, 0), "ERR_NO_AUDIO", "ended before the first frame of audio");
  }

  TEST_CASE("chunks end where the schedule says, and past its end repeat its last length") {
    const Spoken spoken = speak(endless(), small_request(7, 50));
    CHECK(lengths(spoken) == std::vector<int64_t>{7, 5, 10, 10, 10, 8});
    int64_t first = 0;
    for (const auto& chunk : spoken.chunks) {
      CHECK(chunk.first_frame == first);
      CHECK(chunk.samples.size() == static_cast<size_t>(12 * chunk.frames));
      CHECK(chunk.codes.size() == static_cast<size_t>(4 * chunk.frames));
      first += chunk.frames;
    }
    UtteranceRequest request = small_request(7, 40);
    request.chunk_ends = {9};
    CHECK(lengths(speak(endless(), request)) == std::vector<int64_t>{9, 9, 9, 9, 4});
  }

  TEST_CASE("the published schedule: 19, 57, 132, 282, then chunks of 150 frames") {
    const auto model = SmallModel(small_first_stage(1024), small_second_stage(400)).load();
    UtteranceRequest request = small_request(7, 450);
    request.chunk_ends = {19, 57, 132, 282};
    request.look_ahead = 16;
    CHECK(lengths(speak(model, request)) == std::vector<int64_t>{19, 38, 75, 150, 150, 18});
  }

  TEST_CASE("what a chunk is made of is fixed when it is claimed, while steps go on") {
    const auto model = endless();
    const UtteranceRequest request = small_request();
    engine::UtteranceWork work(*model, request, {});
    CHECK(std::vector<int64_t>{work.chunk_end(0), work.chunk_end(2), work.chunk_end(4)} == std::vector<int64_t>{7, 22, 42});
    work.coarse.prefill(nullptr);
    while (!work.chunk_ready()) work.coarse.step();
    const engine::DueChunk due = work.claim();
    CHECK(std::vector<int64_t>{due.first, due.last, due.drawn_last, due.coarse.size(1)} == std::vector<int64_t>{0, 7, 7, 10});
    CHECK(due.opening);
    CHECK_FALSE(work.chunk_ready());
    const at::Tensor seen = due.coarse.clone();
    for (int i = 0; i < 6; ++i) work.coarse.step();
    check_equal(due.coarse, seen, "what the second stage sees");
    const engine::Chunk chunk = work.say(due);
    CHECK(chunk.samples == speak(model, request).chunks[0].samples);
    CHECK(work.saying.decoder > 0);
  }

  TEST_CASE("the last chunk says why it is the last, and no other does") {
    for (const int64_t frames : {1, 3, 6, 7, 8, 10, 12, 13, 22, 25}) {
      const Spoken spoken = speak(ending(frames), small_request());
      CAPTURE(frames);
      CHECK_FALSE(spoken.failure);
      CHECK(codes_of(spoken).size(1) == frames);
      for (size_t i = 0; i < spoken.chunks.size(); ++i)
        CHECK((spoken.chunks[i].end_reason == (i + 1 == spoken.chunks.size() ? EndReason::end : EndReason::none)));
    }
    CHECK((speak(endless(), small_request()).chunks.back().end_reason == EndReason::limit));
    // The asked length is reached exactly when the model ends, too.
    CHECK((speak(ending(10), small_request(7, 10)).chunks.back().end_reason == EndReason::end));
  }

  TEST_CASE("without any look-ahead, too, every utterance ends") {
    for (const int64_t frames : {6, 7, 8, 12, 13, 22}) {
      UtteranceRequest request = small_request();
      request.look_ahead = 0;
      const Spoken spoken = speak(ending(frames), request);
      CAPTURE(frames);
      CHECK(code_of(spoken.failure) == "none");
      if (!spoken.chunks.empty()) CHECK((spoken.chunks.back().end_reason == EndReason::end));
    }
  }

  TEST_CASE("a chunk's codes are those of the second stage on what it may see: the look-ahead and no more") {
    const auto model = endless(24);  // 19 frames fit, so the window slides
    const UtteranceRequest request = small_request(7, 45);
    const Spoken spoken = speak(model, request);
    const at::Tensor codes = codes_of(spoken);
    engine::CoarseDecoder coarse(model->first_stage(), request.coarse);
    coarse.prefill();
    while (!coarse.ended()) coarse.step();
    engine::FineDecoder fine(model->second_stage(), request.second_stage_text, request.coarse.speaker, request.coarse.random);
    CHECK(coarse.frames() == 45);
    int64_t first = 0;
    for (const auto& chunk : spoken.chunks) {
      const int64_t last = first + chunk.frames;
      check_equal(codes.narrow(1, first, chunk.frames), fine.run(coarse.codes(0, std::min<int64_t>(45, last + 3)), first, last), "chunk");
      first = last;
    }
  }

  TEST_CASE("the samples are the codec's of the codes, in pieces and as a whole") {
    for (const at::Device& device : devices()) {
      const auto model = endless(96, device);
      const Spoken spoken = speak(model, small_request());
      const at::Tensor codes = codes_of(spoken);
      models::encodec::DecoderState state, whole_state;
      std::vector<at::Tensor> pieces;
      int64_t first = 0;
      for (const int64_t length : lengths(spoken)) {
        pieces.push_back(model->codec().decode(codes.narrow(1, first, length), state).cpu());
        first += length;
      }
      check_equal(samples_of(spoken), at::cat(pieces), "in the same pieces");
      check_wave(samples_of(spoken), model->codec().decode(codes, whole_state).cpu(), 1e-5, "whole");
    }
  }

  TEST_CASE("the whole is brought to the loudness that is asked for by one gain; chunks leave that to who hears all segments") {
    const auto model = endless();
    const int64_t rate = model->codec().sample_rate();
    UtteranceRequest request = small_request();
    request.loudness = -20;
    CHECK(words_of(speak(model, request).failure).find("a loudness for the whole alone") != std::string::npos);
    CHECK(speak(model, small_request()).chunks[0].decoded.empty());

    request.whole = true;
    UtteranceRequest bare = request;
    bare.loudness.reset();
    const Spoken loud = speak(model, request);
    const at::Tensor whole = samples_of(speak(model, bare));
    check_equal(samples_of(loud), ops::normalize_loudness(whole, rate, -20), "whole");
    CHECK(difference(samples_of(loud), whole).worst > 0);
    check_equal(at::tensor(loud.chunks[0].decoded), whole, "as the decoder gave it");
    CHECK(same_bytes(speak(model, request), loud));
  }

  TEST_CASE("the whole form is one chunk, and frames past its window follow the streaming rule") {
    const auto model = endless(24);  // 20 frames in the whole form, 19 in the streaming one
    for (const int64_t frames : {5, 19, 20, 21, 45}) {
      UtteranceRequest request = small_request(7, frames);
      request.whole = true;
      const Spoken spoken = speak(model, request);
      CAPTURE(frames);
      REQUIRE(spoken.chunks.size() == 1);
      CHECK((spoken.chunks[0].end_reason == EndReason::limit));
      const at::Tensor codes = codes_of(spoken);
      REQUIRE(codes.sizes() == at::IntArrayRef({4, frames}));
      const at::Tensor coarse = codes.narrow(0, 0, 2).contiguous();
      engine::FineDecoder fine(model->second_stage(), request.second_stage_text, request.coarse.speaker, request.coarse.random);
      std::vector<at::Tensor> wanted = {fine.run_whole(coarse)};
      for (int64_t first = 20; first < frames; first += 10) {
        const int64_t last = std::min<int64_t>(first + 10, frames);
        wanted.push_back(fine.run(coarse.narrow(1, 0, std::min(frames, last + 3)), first, last));
      }
      check_equal(codes, at::cat(wanted, 1), "codes");
    }
  }

  TEST_CASE("bytes depend on the request, not on the reader, the company or the run") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const auto model = endless(96, device, dtype);
        const Spoken wanted = speak(model, small_request());
        CHECK(same_bytes(speak(model, small_request()), wanted));
        CHECK(same_bytes(speak(endless(96, device, dtype), small_request()), wanted));
        CHECK_FALSE(same_bytes(speak(model, small_request(8)), wanted));

        // Beside another utterance, and read in one go at the end.
        UtteranceRequest patient = small_request();
        patient.waiting_chunks = 100;
        Utterance first(model, patient, nullptr), second(model, small_request(9), nullptr);
        while (first.wants_work() || second.wants_work()) {
          if (first.wants_work()) first.advance();
          if (second.wants_work()) second.advance();
          second.take();
        }
        CHECK(same_bytes(speak(first), wanted));
      }
    }
  }

  TEST_CASE("rests while as many chunks as allowed wait for the reader") {
    for (const int64_t waiting : {-1, 0, 1, 2}) {
      UtteranceRequest request = small_request();
      request.waiting_chunks = waiting;
      Utterance utterance(endless(), request, nullptr);
      while (utterance.wants_work()) utterance.advance();
      CAPTURE(waiting);
      CHECK_FALSE(utterance.finished());
      int64_t ready = 0;
      while (auto outcome = utterance.take()) {
        REQUIRE(outcome->chunk);
        ++ready;
      }
      CHECK(ready == std::max<int64_t>(1, waiting));
      CHECK(utterance.wants_work());
    }
  }

  TEST_CASE("cancelled at any point it has nothing more to say, and lets go") {
    const auto model = endless();
    int points = 0;
    for (bool finished = false; !finished; ++points) {
      Utterance utterance(model, small_request(7, 20), nullptr);
      for (int i = 0; i < points && !utterance.finished(); ++i) {
        utterance.advance();
        if (i % 3 == 2) utterance.take();
      }
      finished = utterance.finished();
      utterance.cancel();
      CHECK(utterance.cancelled());
      CHECK(utterance.finished());
      CHECK_FALSE(utterance.wants_work());
      const auto outcome = utterance.take();
      REQUIRE(outcome.has_value());
      CHECK_FALSE(outcome->chunk.has_value());
      CHECK_FALSE(outcome->failure);
      utterance.release();
      utterance.cancel();
    }
    CHECK(points > 8);
  }

  TEST_CASE("a cancel during a launch ends it after the step in flight") {
    const auto model = endless();
    Utterance utterance(model, small_request(), nullptr);
    utterance.advance();
    utterance.cancel();
    utterance.advance();
    CHECK_FALSE(utterance.take()->chunk.has_value());
  }

  TEST_CASE("tells the reader of every chunk and of a failure, and times every stage") {
    int told = 0;
    Utterance utterance(endless(), small_request(7, 20), [&] { ++told; });
    const Spoken spoken = speak(utterance);
    CHECK(told == static_cast<int>(spoken.chunks.size()));
    const engine::Timings& timings = spoken.chunks.back().timings;
    CHECK(timings.steps == 41);
    for (const double part : {timings.prefill, timings.first_stage, timings.second_stage, timings.decoder}) CHECK(part > 0);
    told = 0;
    Utterance failing(ending(0), small_request(), [&] { ++told; });
    speak(failing);
    CHECK(told == 1);
    // The end can be asked for again.
    CHECK(failing.take()->failure);
    CHECK_FALSE(utterance.take()->chunk.has_value());
  }

  TEST_CASE("a step that fails while a chunk is being said is told of behind that chunk") {
    const core::Error lost("ERR_OUT_OF_MEMORY", "a step found no memory");
    int told = 0;
    UtteranceRequest request = small_request();
    request.waiting_chunks = 4;
    Utterance utterance(endless(), request, [&] { ++told; });
    while (utterance.need() != Utterance::Need::chunk) utterance.advance();
    const engine::DueChunk due = utterance.claim_chunk();
    utterance.fail(std::make_exception_ptr(lost));
    // Nothing to tell yet, but nothing more to begin, either.
    CHECK_FALSE(utterance.take().has_value());
    CHECK_FALSE(utterance.done());
    CHECK_FALSE(utterance.finished());
    CHECK(utterance.need() == Utterance::Need::nothing);
    CHECK(told == 0);
    CHECK(utterance.say(due) == due.last);
    CHECK_FALSE(utterance.finished());
    utterance.said();
    CHECK(told == 1);
    CHECK(utterance.finished());
    const auto chunk = utterance.take();
    REQUIRE(chunk.has_value());
    REQUIRE(chunk->chunk);
    CHECK(chunk->chunk->frames == due.last);
    CHECK(chunk->chunk->end_reason == EndReason::none);
    const auto end = utterance.take();
    REQUIRE(end.has_value());
    CHECK_FALSE(end->chunk);
    check_refused([&] { throw core::translate(end->failure); }, "ERR_OUT_OF_MEMORY", "a step found no memory");
  }

  TEST_CASE("of several chunks that are unsaid the last one brings the failure, and one dropped by it says nothing") {
    UtteranceRequest request = small_request();
    request.waiting_chunks = 4;
    Utterance utterance(endless(), request, nullptr);
    std::vector<engine::DueChunk> due;
    while (due.size() < 2)
      if (utterance.need() == Utterance::Need::chunk)
        due.push_back(utterance.claim_chunk());
      else
        utterance.advance();
    utterance.fail(std::make_exception_ptr(core::Error("ERR_INTERNAL", "lost")));
    utterance.say(due[0]);
    utterance.said();
    CHECK(utterance.take()->chunk);
    CHECK_FALSE(utterance.take().has_value());
    utterance.cancel();
    CHECK(utterance.say(due[1]) == 0);
    utterance.said();
    CHECK(utterance.finished());
    // Who has left is not told of failures.
    CHECK_FALSE(utterance.take()->failure);
  }

  TEST_CASE("by diffusion: chunks of the schedule, each when its context is there; the sound of their codes, in windows or whole") {
    for (const at::Device& device : devices()) {
      const auto model = diffusing(device);
      const engine::WindowSizes sizes = engine::WindowSizes::of(model->codec());
      CHECK(sizes.context == 2);
      for (const int64_t frames : {3, 8, 13, 14, 40}) {
        UtteranceRequest request = small_request(7, frames);
        request.diffusion_steps = 3;
        CAPTURE(frames);
        const Spoken spoken = speak(model, request);
        REQUIRE(words_of(spoken.failure) == "");
        CHECK(codes_of(spoken).size(1) == frames);
        for (const auto& chunk : spoken.chunks) CHECK(chunk.samples.size() == static_cast<size_t>(12 * chunk.frames));
        CHECK(spoken.chunks.back().end_reason == EndReason::limit);
        check_equal(samples_of(spoken), engine::diffuse(*model, codes_of(spoken), 7, {}, 3, request.chunk_ends), std::to_string(frames) + " frames");
        CHECK(same_bytes(spoken, speak(model, request)));

        request.whole = true;
        const Spoken whole = speak(model, request);
        CHECK(whole.chunks.size() == 1);
        check_equal(samples_of(whole), engine::diffuse(*model, codes_of(whole), 7, {}, 3, {}), "whole");
      }
      UtteranceRequest request = small_request();
      request.diffusion_steps = 3;
      CHECK(lengths(speak(model, request)) == std::vector<int64_t>{7, 5, 10, 10, 8});
      // Not before two more frames, and the look-ahead of the second stage behind them, exist.
      Utterance utterance(model, request, nullptr);
      while (utterance.need() != Utterance::Need::chunk) utterance.advance();
      CHECK(utterance.coarse().frames() == 7 + 2 + 3);
      CHECK(utterance.claim_chunk().drawn_last == 9);
    }
  }

  TEST_CASE("by diffusion what was said does not depend on how long it goes on") {
    const auto model = diffusing();
    UtteranceRequest longer = small_request(7, 40), shorter = small_request(7, 27);
    longer.diffusion_steps = shorter.diffusion_steps = 2;
    const Spoken first = speak(model, longer), second = speak(model, shorter);
    for (size_t i = 0; i < 3; ++i) {
      CHECK(first.chunks[i].samples == second.chunks[i].samples);
      CHECK(first.chunks[i].codes == second.chunks[i].codes);
    }
  }

  TEST_CASE("a cancel while diffusion samples ends it at the next step") {
    const auto model = diffusing();
    UtteranceRequest request = small_request();
    request.diffusion_steps = 100;
    Utterance utterance(model, request, nullptr);
    while (utterance.need() != Utterance::Need::chunk) utterance.advance();
    const engine::DueChunk due = utterance.claim_chunk();
    utterance.cancel();
    CHECK(utterance.say(due) == 0);
    utterance.said();
    CHECK_FALSE(utterance.take()->chunk.has_value());
    CHECK_FALSE(utterance.take()->failure);
    // One that comes while it samples is no failure.
    Utterance sampling(model, request, nullptr);
    while (sampling.need() != Utterance::Need::chunk) sampling.advance();
    const engine::DueChunk next = sampling.claim_chunk();
    std::atomic<bool> began{false};
    std::thread sampler([&] {
      const c10::InferenceMode inference;
      began = true;
      CHECK(sampling.say(next) == 0);
      sampling.said();
    });
    while (!began) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    sampling.cancel();
    sampler.join();
    CHECK_FALSE(sampling.failed());
    CHECK_FALSE(sampling.done());
    // Inside: the sampler asks, too.
    engine::DiffusionRequest sampled{{1, 0, 0}, 100, {}, nullptr};
    int asked = 0;
    sampled.stopped = [&] { return ++asked == 5; };
    int64_t redone = 0;
    check_refused([&] { engine::diffuse_whole(*model, at::zeros({4, 5}, at::kLong), sampled, {}, redone); }, "ABORT_ERR", "cancelled");
    CHECK(asked == 5);
  }

  TEST_CASE("an utterance that overflows float16 speaks, says what was done again, and does not trouble its neighbours") {
    for (const at::Device& device : devices()) {
      const auto healthy = endless(96, device, at::kHalf);
      const auto sick = SmallModel(overflowing_inside(small_first_stage(256)), overflowing_inside(small_second_stage(96), 3e5), device, at::kHalf).load();
      const Spoken spoken = speak(sick, small_request(7, 20));
      CHECK_FALSE(spoken.failure);
      REQUIRE(spoken.chunks.size() == 3);
      int64_t steps = 0, windows = 0;
      for (const auto& chunk : spoken.chunks) {
        CHECK(chunk.health.redone_steps >= steps);
        CHECK(chunk.health.redone_windows == ++windows);
        steps = chunk.health.redone_steps;
      }
      CHECK(steps > 0);
      CHECK(speak(healthy, small_request(7, 20)).chunks.back().health.redone_steps == 0);
      CHECK(same_bytes(spoken, speak(sick, small_request(7, 20))));
    }
  }

  TEST_CASE("numbers that are not finite in float32 either end the request with ERR_NUMERIC") {
    Tensors first = small_first_stage(256), second = small_second_stage(96);
    first["layers.0.feed_forward.down.weight"][0][0] = std::numeric_limits<float>::infinity();
    check_refused_as(SmallModel(first, second).load(), small_request(), "ERR_NUMERIC", "first stage");
    second["heads.0.weight"][0][0] = std::numeric_limits<float>::quiet_NaN();
    check_refused_as(SmallModel(small_first_stage(256), second).load(), small_request(), "ERR_NUMERIC", "second stage");
    UtteranceRequest request = small_request();
    request.coarse.speaker = at::full({5}, std::numeric_limits<float>::quiet_NaN());
    check_refused_as(endless(), request, "ERR_NUMERIC", "first stage");
  }

  TEST_CASE("a codec that overflows is ERR_NUMERIC: it is float32 already") {
    SmallModel small(small_first_stage(256), small_second_stage(96));
    Tensors codec = random_codec({}, 3);
    codec["decoder.0.bias"].fill_(std::numeric_limits<float>::infinity());
    write_safetensors(small.folder.file("codec"), codec);
    check_refused_as(small.load(), small_request(), "ERR_NUMERIC", "codec");
  }
}
