#include "engine/side_jobs.h"

#include <c10/core/InferenceMode.h>
#include <doctest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <vector>

using metavoice::engine::SideJobs;

TEST_SUITE("engine/side_jobs") {
  TEST_CASE("jobs run in order, on one thread that is not this one, in inference mode") {
    std::vector<int> order;
    std::thread::id thread;
    bool same = true, inference = true;
    std::promise<void> done;
    SideJobs jobs;
    for (int i = 0; i < 100; ++i)
      REQUIRE(jobs.post([&, i] {
        order.push_back(i);
        if (i == 0) thread = std::this_thread::get_id();
        same = same && thread == std::this_thread::get_id();
        inference = inference && c10::InferenceMode::is_enabled();
        if (i == 99) done.set_value();
      }));
    done.get_future().wait();
    CHECK(order.size() == 100);
    CHECK(std::is_sorted(order.begin(), order.end()));
    CHECK(same);
    CHECK(thread != std::this_thread::get_id());
    CHECK(inference);
  }

  TEST_CASE("what a job holds goes before the next one runs, and a job may post another") {
    auto held = std::make_shared<int>(1);
    const std::weak_ptr<int> watched = held;
    std::promise<bool> gone;
    SideJobs jobs;
    jobs.post([held = std::move(held)] {});
    jobs.post([&] { jobs.post([&] { gone.set_value(watched.expired()); }); });
    CHECK(gone.get_future().get());
  }

  TEST_CASE("a stop waits for the job in hand and drops the others, with what they hold") {
    const auto held = std::make_shared<int>(1);
    std::promise<void> began, go_on;
    std::atomic<bool> ended{false}, dropped{true};
    SideJobs jobs;
    jobs.post([&] {
      began.set_value();
      go_on.get_future().wait();
      ended = true;
    });
    for (int i = 0; i < 10; ++i) jobs.post([&, held] { dropped = false; });
    began.get_future().wait();
    jobs.request_stop();
    jobs.request_stop();
    CHECK_FALSE(jobs.post([] {}));
    go_on.set_value();
    jobs.join();
    jobs.join();
    CHECK(ended);
    CHECK(dropped);
    CHECK(held.use_count() == 1);
  }

  TEST_CASE("goes away with jobs that wait") {
    const auto held = std::make_shared<int>(1);
    {
      SideJobs jobs;
      for (int i = 0; i < 1000; ++i) jobs.post([held] {});
    }
    CHECK(held.use_count() == 1);
  }
}
