// Memory that runs out at every single allocation of a life: each time one request fails with ERR_OUT_OF_MEMORY, and the
// next one speaks as if nothing had been.
#include <doctest.h>

#include <cstdlib>
#include <new>

#include "engine/stages.h"
#include "engine/utterance.h"
#include "support/compare.h"
#include "support/failing_allocator.h"
#include "support/fixtures.h"
#include "support/overflow.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;

void* operator new(size_t bytes) {
  if (object_countdown.fails_now()) throw std::bad_alloc();
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace {

// Fails each allocation of `action` in turn until one run goes through; gives how many there were. A failure that libtorch
// got over by itself must have left no trace in the result.
template <class Action, class Same>
int64_t fail_each(Countdown& countdown, Action action, Same same, int64_t stride = 1) {
  for (int64_t n = 1;; n += stride) {
    countdown.arm(n);
    try {
      const auto result = action();
      const bool fired = countdown.disarm();
      const std::string found = "a run whose allocation " + std::to_string(n) + " failed";
      CHECK_MESSAGE(same(result), found);
      if (!fired) return n - 1;
    } catch (...) {
      countdown.disarm();
      const core::Error error = core::translate(std::current_exception());
      const std::string words = error.what(), found = "allocation " + std::to_string(n) + ": " + error.code() + ": " + words;
      // oneDNN says no more than that it "could not create" something.
      CHECK_MESSAGE((error.code() == "ERR_OUT_OF_MEMORY" || words.find("could not create") != std::string::npos), found);
    }
  }
}

Spoken speak_or_throw(const std::shared_ptr<const engine::SpeechModel>& model, const engine::UtteranceRequest& request) {
  Spoken spoken = speak(model, request);
  if (spoken.failure) std::rethrow_exception(spoken.failure);
  return spoken;
}

int64_t fail_run(Countdown& countdown, const std::shared_ptr<const engine::SpeechModel>& model,
                 const engine::UtteranceRequest& request, int64_t stride = 1) {
  const Spoken healthy = speak_or_throw(model, request);
  const auto same = [&](const Spoken& spoken) { return same_bytes(spoken, healthy); };
  const int64_t count = fail_each(countdown, [&] { return speak_or_throw(model, request); }, same, stride);
  CHECK(same(speak_or_throw(model, request)));
  return count;
}

}  // namespace

TEST_SUITE("engine/out_of_memory") {
  TEST_CASE("every tensor of a run") {
    const FailingAllocator allocator;
    const auto model = SmallModel(small_first_stage(256), small_second_stage(96)).load();
    CHECK(fail_run(tensor_countdown, model, small_request(7, 8)) > 300);
  }

  TEST_CASE("every tensor of a run that computes again in float32") {
    const FailingAllocator allocator;
    const auto model = SmallModel(overflowing_keys(small_first_stage(256)), overflowing_inside(small_second_stage(96), 3e5), at::kCPU, at::kHalf).load();
    const engine::UtteranceRequest request = small_request(7, 7);
    const Spoken healthy = speak(model, request);
    REQUIRE(healthy.chunks.back().health.redone_steps > 0);
    REQUIRE(healthy.chunks.back().health.redone_windows > 0);
    CHECK(fail_run(tensor_countdown, model, request, 3) > 300);
  }

  TEST_CASE("every tensor of a model that is loaded") {
    const FailingAllocator allocator;
    // In another dtype than the files', so that every weight is a copy.
    const SmallModel small(small_first_stage(256), small_second_stage(96), at::kCPU, at::kBFloat16);
    CHECK(fail_each(tensor_countdown, [&] { return small.load(); }, [](const auto& model) { return model != nullptr; }) > 50);
    CHECK_FALSE(speak(small.load(), small_request(7, 8)).failure);
  }

  TEST_CASE("every tensor of the stages on their own") {
    const FailingAllocator allocator;
    const engine::SpeechModel model(golden_description(at::kCPU));
    const at::Tensor speaker = golden("llm", "speaker"), prompt = numbers("prompt");
    const at::Tensor tone = at::sin(at::arange(8000) * 0.1), codes = at::zeros({8, 9}, at::kLong);
    const auto each = [](auto action) {
      const at::Tensor healthy = action();
      return fail_each(tensor_countdown, action, [&](const at::Tensor& found) { return at::equal(found, healthy); }, 2);
    };
    CHECK(each([&] { return engine::first_stage_logits(model, prompt, speaker, prompt.size(0)); }) > 30);
    CHECK(each([&] { return engine::first_stage_logits(model, prompt, speaker, prompt.size(0) - 2); }) > 60);
    CHECK(each([&] { return at::tensor(engine::first_stage_greedy(model, prompt, speaker, 3, 3)); }) > 60);
    CHECK(each([&] { return engine::embed_speaker(model, tone, 16000).embedding; }) > 20);
    CHECK(each([&] { return engine::encode(model, tone, 16000); }) > 30);
    CHECK(each([&] { return engine::decode(model, codes, {7, 2}); }) > 30);
  }

  TEST_CASE("every object of a run") {
    const auto model = SmallModel(small_first_stage(256), small_second_stage(96)).load();
    CHECK(fail_run(object_countdown, model, small_request(7, 7), 5) > 1000);
  }
}
