#include "core/team.h"

#include <ATen/Parallel.h>
#include <doctest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace metavoice;

namespace {

// A number of libtorch's threads of this thread, until the end of a scope.
class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_;
};

// How often each of `count` was given out.
std::vector<int> given(int64_t count, int64_t piece) {
  std::vector<std::atomic<int>> times(static_cast<size_t>(count));
  core::share_work(count, piece, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++times[static_cast<size_t>(i)];
  });
  return {times.begin(), times.end()};
}

}  // namespace

TEST_SUITE("core/team") {
  TEST_CASE("everything is done once, whatever the pieces, the threads and the moment") {
    for (const int threads : {1, 2, 3, 8}) {
      const Threads some(threads);
      for (const int64_t count : {0, 1, 2, 7, 100, 1000})
        for (const int64_t piece : {0, 1, 3, 100, 5000}) {
          CAPTURE(threads);
          CAPTURE(count);
          CAPTURE(piece);
          CHECK(given(count, piece) == std::vector<int>(static_cast<size_t>(count), 1));
        }
      // At once after the last, and when all are asleep.
      for (int i = 0; i < 2000; ++i) CHECK(given(5, 1) == std::vector<int>(5, 1));
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      CHECK(given(5, 1) == std::vector<int>(5, 1));
    }
  }

  TEST_CASE("others take part, unless there is one thread or one piece") {
    const Threads two(2);
    const auto helpers = [](int64_t count, int64_t piece) {
      std::atomic<int> others{0};
      const std::thread::id own = std::this_thread::get_id();
      core::share_work(count, piece, [&](int64_t, int64_t) {
        if (std::this_thread::get_id() != own) ++others;
        // The caller alone would be long about it.
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      });
      return others.load();
    };
    CHECK(helpers(50, 1) > 0);
    CHECK(helpers(50, 50) == 0);
    const Threads one(1);
    CHECK(helpers(50, 1) == 0);
  }

  TEST_CASE("what is thrown arrives once nobody is at work, and the next work is done as ever") {
    const Threads four(4);
    for (int round = 0; round < 50; ++round) {
      std::atomic<int> inside{0};
      CHECK_THROWS_WITH_AS(core::share_work(100, 1,
                                            [&](int64_t begin, int64_t) {
                                              ++inside;
                                              std::this_thread::yield();
                                              --inside;
                                              if (begin == 17) throw std::runtime_error("piece 17");
                                            }),
                           "piece 17", std::runtime_error);
      CHECK(inside == 0);
      CHECK(given(100, 3) == std::vector<int>(100, 1));
    }
  }

  TEST_CASE("work inside of work, and of several at once, is done by who asks for it") {
    const Threads four(4);
    std::atomic<int> done{0};
    core::share_work(8, 1, [&](int64_t, int64_t) { core::share_work(10, 1, [&](int64_t begin, int64_t end) { done += static_cast<int>(end - begin); }); });
    CHECK(done == 80);

    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i)
      callers.emplace_back([&] {
        at::set_num_threads(3);
        for (int round = 0; round < 500; ++round)
          if (given(64, 2) != std::vector<int>(64, 1)) ++wrong;
      });
    for (std::thread& caller : callers) caller.join();
    CHECK(wrong == 0);
  }
}
