#include "engine/statistics.h"

#include <doctest.h>

using metavoice::engine::Rate;
using metavoice::engine::Snapshot;
using metavoice::engine::Statistics;

TEST_SUITE("engine/statistics") {
  TEST_CASE("a rate is that of the last ten seconds, or of those since it began") {
    using Clock = Rate::Clock;
    using std::chrono::seconds;
    const Clock::time_point start(seconds(1000));
    Rate rate;
    CHECK(rate.per_second(start) == 0);
    rate.add(6, start);
    CHECK(rate.per_second(start) == 6);
    CHECK(rate.per_second(start + seconds(2)) == 2);
    for (int second = 1; second < 30; ++second) rate.add(4, start + seconds(second));
    CHECK(rate.per_second(start + seconds(29)) == 4);
    CHECK(rate.per_second(start + seconds(34)) == doctest::Approx(2));
    CHECK(rate.per_second(start + seconds(60)) == 0);
  }

  TEST_CASE("counts, and keeps peaks") {
    Statistics statistics;
    statistics.set_pool(10, 1024);
    statistics.set_load(3, 1, 2, 5);
    statistics.set_load(1, 0, 0, 2);
    statistics.set_pages_used(7);
    statistics.set_pages_used(4);
    statistics.count_step(3);
    statistics.count_step(2);
    statistics.count_audio(0.5);
    for (const auto fate : {Statistics::Fate::ended, Statistics::Fate::ended, Statistics::Fate::cancelled, Statistics::Fate::failed, Statistics::Fate::refused})
      statistics.count(fate);
    const Snapshot now = statistics.snapshot();
    CHECK(now.active == 1);
    CHECK(now.queued == 2);
    CHECK(now.parked == 0);
    CHECK(now.peak_active == 3);
    CHECK(now.peak_queued == 5);
    CHECK(now.pages == 10);
    CHECK(now.used_pages == 4);
    CHECK(now.peak_used_pages == 7);
    CHECK(now.batch_steps == 2);
    CHECK(now.steps == 5);
    CHECK(now.audio_seconds == 0.5);
    CHECK(now.ended == 2);
    CHECK(now.cancelled == 1);
    CHECK(now.failed == 1);
    CHECK(now.refused == 1);
    CHECK(now.batch_steps_per_second > 0);
  }
}
