#include "engine/scheduler.h"

#include <c10/core/InferenceMode.h>
#include <doctest.h>

#include <array>
#include <future>
#include <random>
#include <set>

#include "support/compare.h"
#include "support/kernels.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::Scheduler;
using engine::Utterance;
using engine::UtteranceRequest;

namespace {

std::shared_ptr<const engine::SpeechModel> some_model() {
  return SmallModel(small_first_stage(128), small_second_stage(64)).load();
}

// One whose steps go by kernels that draw; null where there are none for the CPU.
std::shared_ptr<const engine::SpeechModel> model_that_draws() {
  const ops::DecodeKernels* kernels = kernels_for(at::kCPU);
  if (kernels == nullptr) return nullptr;
  const auto model = SmallModel(served_first_stage(128), small_second_stage(64)).load();
  const_cast<models::FirstStage&>(model->first_stage()).use_kernels(kernels);
  return model;
}

// An utterance with its reader.
struct Reader {
  Signal signal;
  std::shared_ptr<Utterance> utterance;

  Reader(const std::shared_ptr<const engine::SpeechModel>& model, UtteranceRequest request)
      : utterance(std::make_shared<Utterance>(model, std::move(request), [this] { signal.notify(); })) {}

  // The next outcome, however long it takes.
  Utterance::Outcome next(Scheduler& scheduler) {
    for (int seen = signal.count();; seen = signal.wait_past(seen)) {
      if (auto outcome = utterance->take()) {
        scheduler.wake();
        return std::move(*outcome);
      }
    }
  }

  Spoken rest(Scheduler& scheduler) {
    Spoken spoken;
    while (true) {
      Utterance::Outcome outcome = next(scheduler);
      if (!outcome.chunk) {
        spoken.failure = outcome.failure;
        spoken.ended = true;
        return spoken;
      }
      spoken.chunks.push_back(std::move(*outcome.chunk));
    }
  }
};

// What the engine says when nobody else is there.
Spoken alone(const std::shared_ptr<const engine::SpeechModel>& model, const UtteranceRequest& request) {
  Scheduler scheduler(1);
  Reader reader(model, request);
  scheduler.add(reader.utterance);
  return reader.rest(scheduler);
}

// Waits until everything posted before has run.
void settle(Scheduler& scheduler) {
  Signal signal;
  REQUIRE(scheduler.post([&] { signal.notify(); }));
  signal.wait_for(1);
}

// Waits until so many have ended: a reader hears the end a moment before the engine has let go of the utterance.
void settle_ended(Scheduler& scheduler, int64_t ended) {
  while (scheduler.statistics().ended < ended) std::this_thread::yield();
  settle(scheduler);
}

// Holds the engine thread until released.
struct Gate {
  std::promise<void> open;
  explicit Gate(Scheduler& scheduler) {
    scheduler.post([future = open.get_future().share()] { future.wait(); });
  }
};

}  // namespace

TEST_SUITE("engine/scheduler") {
  TEST_CASE("after its stop it takes nothing more, and stopping again is nothing") {
    Scheduler scheduler(1);
    scheduler.stop();
    CHECK_FALSE(scheduler.post([] {}));
    CHECK_FALSE(scheduler.add(Reader(some_model(), small_request()).utterance));
    scheduler.stop();
    scheduler.wake();
  }

  TEST_CASE("jobs run in order, on one thread, in inference mode") {
    Scheduler scheduler(1);
    std::vector<int> order;
    std::set<std::thread::id> threads;
    bool inference = true;
    for (int i = 0; i < 100; ++i)
      scheduler.post([&, i] {
        order.push_back(i);
        threads.insert(std::this_thread::get_id());
        inference = inference && c10::InferenceMode::is_enabled();
      });
    settle(scheduler);
    CHECK(std::is_sorted(order.begin(), order.end()));
    CHECK(order.size() == 100);
    CHECK(threads.size() == 1);
    CHECK_FALSE(threads.contains(std::this_thread::get_id()));
    CHECK(inference);
  }

  TEST_CASE("side jobs run in order on a thread of their own, in inference mode, whatever the first one does") {
    Scheduler scheduler(1);
    std::vector<int> order;
    std::set<std::thread::id> threads;
    bool inference = true;
    Signal signal;
    {
      Gate gate(scheduler);
      for (int i = 0; i < 100; ++i)
        REQUIRE(scheduler.post_beside([&, i] {
          inference = inference && c10::InferenceMode::is_enabled();
          order.push_back(i);
          threads.insert(std::this_thread::get_id());
          if (i == 99) signal.notify();
        }));
      signal.wait_for(1);
      gate.open.set_value();
    }
    scheduler.post([&] { threads.insert(std::this_thread::get_id()); });
    settle(scheduler);
    CHECK(order.size() == 100);
    CHECK(std::is_sorted(order.begin(), order.end()));
    CHECK(threads.size() == 2);
    CHECK(inference);
    scheduler.stop();
    CHECK_FALSE(scheduler.post_beside([] {}));
  }

  TEST_CASE("a chunk that takes long holds up no side job") {
    Scheduler scheduler(1);
    std::promise<void> done;
    std::thread::id saying, enhancing;
    bool posted = false, in_time = false;
    Signal ended;
    // The chunk is not said before the job has run; its reader is told on the thread that says it.
    const auto utterance = std::make_shared<Utterance>(some_model(), small_request(7, 7), [&] {
      if (!posted) {
        posted = scheduler.post_beside([&] {
          enhancing = std::this_thread::get_id();
          done.set_value();
        });
        saying = std::this_thread::get_id();
        in_time = done.get_future().wait_for(std::chrono::seconds(30)) == std::future_status::ready;
      }
      ended.notify();
    });
    scheduler.add(utterance);
    ended.wait_for(1);
    CHECK(in_time);
    CHECK(saying != enhancing);
  }

  TEST_CASE("a side job that takes long holds up no chunk, and only the stop waits for it") {
    const auto model = some_model();
    Scheduler scheduler(1);
    Signal begun;
    bool heard = false;
    REQUIRE(scheduler.post_beside([&] {
      begun.notify();
      while (!scheduler.stopping()) std::this_thread::yield();
      heard = true;
    }));
    begun.wait_for(1);
    Reader reader(model, small_request());
    scheduler.add(reader.utterance);
    CHECK(same_bytes(reader.rest(scheduler), alone(model, small_request())));
    CHECK_FALSE(scheduler.stopping());
    scheduler.stop();
    CHECK(heard);
  }

  TEST_CASE("chunks are said beside side jobs, the same bytes") {
    const auto model = some_model();
    const Spoken wanted = alone(model, small_request());
    Scheduler scheduler(1);
    std::atomic<bool> more{true};
    std::function<void()> again = [&] {
      if (more) scheduler.post_beside(again);
    };
    scheduler.post_beside(again);
    Reader reader(model, small_request());
    scheduler.add(reader.utterance);
    CHECK(same_bytes(reader.rest(scheduler), wanted));
    more = false;
    scheduler.stop();
  }

  TEST_CASE("a job may post another, and what a job holds goes before the next one runs") {
    Scheduler scheduler(1);
    auto held = std::make_shared<int>(1);
    std::weak_ptr<int> watched = held;
    Signal signal;
    bool gone = false;
    {
      Gate gate(scheduler);
      scheduler.post([held = std::move(held)] {});
      scheduler.post([&] {
        gone = watched.expired();
        scheduler.post([&] { signal.notify(); });
      });
      gate.open.set_value();
    }
    signal.wait_for(1);
    CHECK(gone);
  }

  TEST_CASE("jobs run between the launches of an utterance, not after it") {
    Scheduler scheduler(1);
    UtteranceRequest request = small_request();
    request.waiting_chunks = 100;
    Reader reader(some_model(), request);
    std::atomic<bool> done{false};
    scheduler.add(reader.utterance);
    int jobs = 0;
    while (!reader.utterance->finished()) {
      settle(scheduler);
      ++jobs;
    }
    CHECK(jobs > 3);
    CHECK_FALSE(reader.rest(scheduler).failure);
  }

  TEST_CASE("what it speaks is what the utterance says alone") {
    const auto model = some_model();
    Scheduler scheduler(2);
    for (const bool whole : {false, true}) {
      UtteranceRequest request = small_request();
      request.whole = whole;
      Reader reader(model, request);
      scheduler.add(reader.utterance);
      CHECK(same_bytes(reader.rest(scheduler), alone(model, request)));
    }
  }

  TEST_CASE("two utterances take turns: neither is a chunk ahead of the other") {
    const auto model = some_model();
    Scheduler scheduler(2);
    std::vector<int> order;  // written on the engine thread alone
    std::array<std::shared_ptr<Utterance>, 2> utterances;
    Gate gate(scheduler);
    for (int i = 0; i < 2; ++i) {
      UtteranceRequest request = small_request();
      request.waiting_chunks = 100;
      utterances[i] = std::make_shared<Utterance>(model, request, [&order, i] { order.push_back(i); });
      scheduler.add(utterances[i]);
    }
    gate.open.set_value();
    while (!utterances[0]->finished() || !utterances[1]->finished()) settle(scheduler);
    settle(scheduler);
    int lead = 0;
    for (const int i : order) {
      lead += i == 0 ? 1 : -1;
      CHECK(std::abs(lead) <= 1);
    }
    CHECK(order.size() >= 8);
  }

  TEST_CASE("with one place the second waits its turn, in order") {
    const auto model = some_model();
    Scheduler scheduler(1);
    std::vector<int> order;
    std::vector<std::shared_ptr<Utterance>> utterances;
    Gate gate(scheduler);
    for (int i = 0; i < 3; ++i) {
      UtteranceRequest request = small_request(7, 60);
      request.waiting_chunks = 100;
      utterances.push_back(std::make_shared<Utterance>(model, request, [&order, i] { order.push_back(i); }));
      scheduler.add(utterances.back());
    }
    gate.open.set_value();
    while (!utterances.back()->finished()) settle(scheduler);
    settle(scheduler);
    CHECK(std::is_sorted(order.begin(), order.end()));
    CHECK(std::set<int>(order.begin(), order.end()).size() == 3);
  }

  TEST_CASE("a reader who rests does not keep the others out") {
    const auto model = some_model();
    Scheduler scheduler(1);
    Reader resting(model, small_request()), other(model, small_request(9));
    scheduler.add(resting.utterance);
    resting.signal.wait_for(1);  // a chunk waits, and nobody takes it
    scheduler.add(other.utterance);
    CHECK(same_bytes(other.rest(scheduler), alone(model, small_request(9))));
    // And it goes on when it is asked again.
    CHECK(same_bytes(resting.rest(scheduler), alone(model, small_request())));
  }

  TEST_CASE("a cancelled utterance leaves its place, running, resting or waiting") {
    const auto model = some_model();
    Scheduler scheduler(1);
    Reader running(model, small_request()), waiting(model, small_request()), last(model, small_request(9));
    {
      Gate gate(scheduler);
      scheduler.add(running.utterance);
      scheduler.add(waiting.utterance);
      scheduler.add(last.utterance);
      waiting.utterance->cancel();
      gate.open.set_value();
    }
    running.signal.wait_for(1);
    running.utterance->cancel();
    scheduler.wake();
    CHECK(same_bytes(last.rest(scheduler), alone(model, small_request(9))));
    settle(scheduler);
    // Nobody but these readers holds them any more.
    CHECK(running.utterance.use_count() == 1);
    CHECK(waiting.utterance.use_count() == 1);
  }

  TEST_CASE("refuses what would wait beyond the bound, says how long it takes, and takes more when there is room") {
    const auto model = some_model();
    Scheduler scheduler(1, 1);
    UtteranceRequest unresting = small_request();  // so that it makes way for nobody
    unresting.waiting_chunks = 100;
    Reader first(model, unresting), second(model, small_request()), third(model, small_request(11)), fourth(model, small_request(12));
    scheduler.add(first.utterance);
    scheduler.add(second.utterance);
    check_refused([&] { scheduler.add(third.utterance); }, "ERR_QUEUE_FULL", "at most 1 requests to wait for their turn, but 2 are there already (none has ended yet");
    first.rest(scheduler);
    settle_ended(scheduler, 1);
    {
      // The second one has its place and more to say, and nobody is made way for meanwhile.
      Gate gate(scheduler);
      CHECK_NOTHROW(scheduler.add(third.utterance));
      const core::Error error = refusal([&] { scheduler.add(fourth.utterance); });
      gate.open.set_value();
      REQUIRE(error.code() == "ERR_QUEUE_FULL");
      CHECK(std::string(error.what()).find("(about ") != std::string::npos);
      CHECK(error.details().back().first == "predictedSeconds");
    }
    // One that gives up makes room.
    second.utterance->cancel();
    scheduler.wake();
    settle(scheduler);
    CHECK_NOTHROW(scheduler.add(fourth.utterance));
    CHECK_FALSE(third.rest(scheduler).failure);
    CHECK_FALSE(fourth.rest(scheduler).failure);
  }

  TEST_CASE("a failing utterance harms no other") {
    const auto model = some_model();
    Scheduler scheduler(2);
    UtteranceRequest request = small_request();
    request.coarse.speaker = at::ones({4});
    Reader failing(model, request), other(model, small_request(9));
    scheduler.add(failing.utterance);
    scheduler.add(other.utterance);
    CHECK(code_of(failing.rest(scheduler).failure) == "ERR_INTERNAL");
    CHECK(same_bytes(other.rest(scheduler), alone(model, small_request(9))));
  }

  TEST_CASE("a stop while utterances run and wait ends after the launch in flight, and leaves no reader without an answer") {
    const auto model = some_model();
    for (int round = 0; round < 20; ++round) {
      Scheduler scheduler(1);
      UtteranceRequest request = small_request();
      request.waiting_chunks = 100;
      Reader running(model, request), waiting(model, request);
      auto held = std::make_shared<int>(1);
      scheduler.add(running.utterance);
      scheduler.add(waiting.utterance);
      if (round % 2 == 0) running.signal.wait_for(1 + round % 3);
      scheduler.post([held] {});
      scheduler.stop();
      CHECK(held.use_count() == 1);
      CHECK(running.utterance->take().has_value());
      CHECK(waiting.utterance->take().has_value());
      CHECK(running.utterance.use_count() == 1);
      CHECK(waiting.utterance.use_count() == 1);
    }
  }

  TEST_CASE("goes away with jobs and utterances still in it") {
    const auto model = some_model();
    std::optional<Reader> reader;
    reader.emplace(model, small_request());
    auto held = std::make_shared<int>(1);
    {
      Scheduler scheduler(4);
      Gate gate(scheduler);
      scheduler.add(reader->utterance);
      for (int i = 0; i < 10; ++i) scheduler.post([held] {});
      for (int i = 0; i < 10; ++i) scheduler.post_beside([held] {});
      gate.open.set_value();
    }
    CHECK(held.use_count() == 1);
    CHECK(reader->utterance.use_count() == 1);
  }

  TEST_CASE("64 at once, of which each says what it says alone") {
    const auto model = some_model();
    Scheduler scheduler(16);
    std::vector<std::unique_ptr<Reader>> readers;
    std::vector<UtteranceRequest> requests;
    for (int i = 0; i < 64; ++i) {
      UtteranceRequest request = small_request(static_cast<uint64_t>(i), 8 + i % 30);
      request.coarse.text.resize(static_cast<size_t>(1 + i % 5), 36);
      request.coarse.text.push_back(40);
      request.coarse.guidance.prompt = i % 4 == 3 ? 2.0F : 1.0F;
      request.waiting_chunks = i % 4 == 0 ? 1 : 100;
      requests.push_back(request);
      readers.push_back(std::make_unique<Reader>(model, request));
    }
    for (const auto& reader : readers) scheduler.add(reader->utterance);
    for (int i = 0; i < 64; ++i) {
      CAPTURE(i);
      CHECK(same_bytes(readers[static_cast<size_t>(i)]->rest(scheduler), alone(model, requests[static_cast<size_t>(i)])));
    }
    settle_ended(scheduler, 64);
    const engine::Snapshot now = scheduler.statistics();
    CHECK(now.ended == 64);
    CHECK(now.cancelled == 0);
    CHECK(now.used_pages == 0);
    CHECK(now.peak_used_pages <= now.pages);
    CHECK(now.peak_active > 16);  // short ones share the pages of long ones
    CHECK(now.steps > 2 * now.batch_steps);
  }

  TEST_CASE("readers who rest give way to those who read, and lose nothing") {
    const auto model = some_model();
    Scheduler scheduler(1);
    std::vector<std::unique_ptr<Reader>> resting;
    for (uint64_t i = 0; i < 9; ++i) {
      resting.push_back(std::make_unique<Reader>(model, small_request(i)));
      scheduler.add(resting.back()->utterance);
    }
    // Each gets as far as its first chunk, though one place is all there is and nobody ends.
    for (const auto& reader : resting) reader->signal.wait_for(1);
    settle(scheduler);
    const engine::Snapshot now = scheduler.statistics();
    CHECK(now.ended == 0);
    CHECK(now.used_pages <= now.pages);
    CHECK(now.active + now.parked == 9);
    CHECK(now.parked > 0);
    for (uint64_t i = 0; i < 9; ++i) CHECK(same_bytes(resting[i]->rest(scheduler), alone(model, small_request(i))));
  }

  TEST_CASE("utterances that grow beyond what was expected of them all end, whatever the pool holds") {
    const auto model = some_model();
    for (const int64_t batch_size : {1, 2, 3}) {
      Scheduler scheduler(batch_size);
      std::vector<std::unique_ptr<Reader>> readers;
      for (uint64_t i = 0; i < 12; ++i) {
        UtteranceRequest request = small_request(i, 60);
        request.likely_frames = 2;
        request.waiting_chunks = 100;
        readers.push_back(std::make_unique<Reader>(model, request));
        scheduler.add(readers.back()->utterance);
      }
      for (uint64_t i = 0; i < 12; ++i) {
        CAPTURE(i);
        CHECK(same_bytes(readers[i]->rest(scheduler), alone(model, small_request(i, 60))));
      }
      settle_ended(scheduler, 12);
      CHECK(scheduler.statistics().used_pages == 0);
    }
  }

  TEST_CASE("one that could outgrow the whole pool speaks beside it") {
    const auto model = some_model();
    Scheduler scheduler({.batch_size = 1, .positions = 40});
    Reader large(model, small_request()), small(model, small_request(9, 10));
    scheduler.add(large.utterance);
    scheduler.add(small.utterance);
    const Spoken spoken = large.rest(scheduler);
    CHECK_FALSE(spoken.failure);
    CHECK(codes_of(spoken).size(1) == codes_of(alone(model, small_request())).size(1));
    CHECK(same_bytes(small.rest(scheduler), alone(model, small_request(9, 10))));
  }

  TEST_CASE("in launches of many steps chunks come when they are due, and each says what it says alone") {
    const auto model = model_that_draws();
    if (model == nullptr) {
      MESSAGE("no kernels for the CPU");
      return;
    }
    std::vector<UtteranceRequest> requests;
    std::vector<Spoken> wanted;
    for (uint64_t i = 0; i < 5; ++i) {
      UtteranceRequest request = small_request(i, 9 + static_cast<int64_t>(i) * 3);
      request.coarse.guidance.prompt = i == 2 ? 2.0F : 1.0F;
      request.likely_frames = i % 2 == 0 ? 2 : 0;
      request.whole = i == 3;
      requests.push_back(request);
      wanted.push_back(alone(model, request));  // before the others: kernels serve one engine at a time
    }
    Scheduler scheduler({.batch_size = 2, .positions = 60});
    std::vector<std::unique_ptr<Reader>> readers;
    for (const UtteranceRequest& request : requests) {
      readers.push_back(std::make_unique<Reader>(model, request));
      scheduler.add(readers.back()->utterance);
    }
    for (size_t i = 0; i < readers.size(); ++i) {
      CAPTURE(i);
      const Spoken together = readers[i]->rest(scheduler);
      const Spoken& by_itself = wanted[i];
      CHECK_FALSE(together.failure);
      CHECK(codes_of(together).size(1) == requests[i].coarse.maximum_frames);
      CHECK(same_bytes(together, by_itself));
      // By the steps that had been taken: two a frame, and no more than the chunk needs.
      for (size_t k = 0; k + 1 < together.chunks.size(); ++k) {
        CHECK(together.chunks[k].timings.steps <= 2 * (together.chunks[k].first_frame + together.chunks[k].frames + requests[i].look_ahead));
        CHECK(together.chunks[k].timings.steps == by_itself.chunks[k].timings.steps);
      }
    }
    settle_ended(scheduler, 5);
    const engine::Snapshot now = scheduler.statistics();
    CHECK(now.used_pages == 0);
    int64_t ids = 0;
    for (const UtteranceRequest& request : requests) ids += 2 * request.coarse.maximum_frames;
    CHECK(now.steps == ids);  // the first id is the prompt's, and the end is one more
    CHECK(now.batch_steps < now.steps);
  }

  TEST_CASE("in launches of many steps a cancel is heard, and frees its pages") {
    const auto model = model_that_draws();
    if (model == nullptr) return;
    const Spoken wanted = alone(model, small_request(9, 10));
    Scheduler scheduler(2);
    UtteranceRequest request = small_request(3, 55);
    request.chunk_ends = {7, 60};
    Reader cancelled(model, request), other(model, small_request(9, 10));
    scheduler.add(cancelled.utterance);
    scheduler.add(other.utterance);
    cancelled.signal.wait_for(1);
    cancelled.utterance->cancel();
    scheduler.wake();
    CHECK(same_bytes(other.rest(scheduler), wanted));
    settle(scheduler);
    CHECK(cancelled.utterance.use_count() == 1);
    CHECK(scheduler.statistics().used_pages == 0);
  }

  TEST_CASE("a later segment is never refused") {
    const auto model = some_model();
    Scheduler scheduler(1, 0);
    UtteranceRequest later = small_request(9);
    later.coarse.random.segment = 1;
    Reader first(model, small_request()), second(model, later), third(model, small_request(3));
    scheduler.add(first.utterance);
    scheduler.add(second.utterance);
    check_refused([&] { scheduler.add(third.utterance); }, "ERR_QUEUE_FULL", "at most 0 requests to wait for their turn, but 2 are there already");
    CHECK(scheduler.statistics().refused == 1);
    CHECK_FALSE(first.rest(scheduler).failure);
    CHECK_FALSE(second.rest(scheduler).failure);
  }

  TEST_CASE("a model without a first stage fails each utterance, and nothing else") {
    SmallModel small(small_first_stage(128), small_second_stage(64));
    small.description.first_stage.reset();
    const auto model = small.load();
    Scheduler scheduler(1);
    for (uint64_t i = 0; i < 3; ++i) {
      Reader reader(model, small_request(i));
      scheduler.add(reader.utterance);
      CHECK(code_of(reader.rest(scheduler).failure) == "ERR_MODEL_NOT_FOUND");
    }
  }

  TEST_CASE("in 200 random comings and goings everybody hears what they asked for, as far as they listened") {
    const auto model = some_model();
    constexpr int kKinds = 4;
    std::vector<UtteranceRequest> requests;
    std::vector<Spoken> wanted;
    for (int i = 0; i < kKinds; ++i) {
      UtteranceRequest request = small_request(static_cast<uint64_t>(i), 12 + 6 * i);
      request.chunk_ends = {7, 9, 12};
      request.waiting_chunks = 1 + i % 2;
      request.whole = i == 3;
      requests.push_back(request);
      wanted.push_back(alone(model, request));
    }
    std::mt19937 random(4);
    std::unique_ptr<Scheduler> scheduler;
    std::atomic<int> wrong{0}, heard{0};
    for (int round = 0; round < 200; ++round) {
      if (round % 20 == 0) scheduler = std::make_unique<Scheduler>(1 + round / 20 % 3);
      std::vector<std::thread> threads;
      for (int voice = 0; voice < 3; ++voice) {
        const int kind = static_cast<int>(random() % kKinds), manner = static_cast<int>(random() % 4), moment = static_cast<int>(random() % 400);
        const size_t until = random() % 3;
        threads.emplace_back([&, kind, manner, moment, until] {
          const c10::InferenceMode inference;
          Reader reader(model, requests[kind]);
          std::this_thread::sleep_for(std::chrono::microseconds(moment));
          if (manner == 0) {  // cancelled at a random moment, perhaps before it is added
            std::thread canceller([&] {
              std::this_thread::sleep_for(std::chrono::microseconds(3 * moment));
              reader.utterance->cancel();
              scheduler->wake();
            });
            scheduler->add(reader.utterance);
            const Spoken spoken = reader.rest(*scheduler);
            canceller.join();
            for (size_t i = 0; i < spoken.chunks.size(); ++i)
              if (spoken.chunks[i].samples != wanted[kind].chunks.at(i).samples) ++wrong;
            if (spoken.failure) ++wrong;
          } else {
            scheduler->add(reader.utterance);
            Spoken spoken;
            while (true) {
              if (manner == 1 && spoken.chunks.size() == until) {  // has heard enough
                reader.utterance->cancel();
                scheduler->wake();
                if (reader.utterance->take()->chunk) ++wrong;
                break;
              }
              if (manner == 2) std::this_thread::sleep_for(std::chrono::microseconds(moment));
              Utterance::Outcome outcome = reader.next(*scheduler);
              if (!outcome.chunk) break;
              spoken.chunks.push_back(std::move(*outcome.chunk));
            }
            heard += static_cast<int>(spoken.chunks.size());
            if (manner != 1 && !same_bytes(spoken, wanted[kind])) ++wrong;
            for (size_t i = 0; i < spoken.chunks.size(); ++i)
              if (spoken.chunks[i].samples != wanted[kind].chunks.at(i).samples) ++wrong;
          }
          // The scheduler may still hold it, and with it the signal of this reader.
          while (reader.utterance.use_count() > 1) std::this_thread::sleep_for(std::chrono::microseconds(50));
        });
      }
      for (auto& thread : threads) thread.join();
    }
    CHECK(wrong == 0);
    CHECK(heard > 200);
  }
}
