#include "engine/places.h"

#include <doctest.h>

#include <memory>

#include "support/compare.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::Places;
using engine::Utterance;

namespace {

struct Scene {
  std::shared_ptr<const engine::SpeechModel> model = SmallModel(small_first_stage(128), small_second_stage(64)).load();

  // 4 letters and so many frames in two rows: 2 pages for up to 14 frames, 4 for up to 30, 6 for up to 46.
  Places::Handle utterance(int64_t frames, int64_t likely = 0, uint32_t segment = 0) const {
    engine::UtteranceRequest request = small_request(1, frames);
    request.likely_frames = likely;
    request.coarse.random.segment = segment;
    return std::make_shared<Utterance>(model, request, nullptr);
  }
};

}  // namespace

TEST_SUITE("engine/places") {
  TEST_CASE("tells the pages that an utterance may come to need, and will hardly exceed") {
    const Scene scene;
    CHECK(scene.utterance(14)->most_pages() == 2);
    CHECK(scene.utterance(30)->most_pages() == 4);
    CHECK(scene.utterance(40)->most_pages() == 6);
    CHECK(scene.utterance(1000)->most_pages() == 8);  // the window
    CHECK(scene.utterance(40, 10)->likely_pages() == 2);
    CHECK(scene.utterance(40, 50)->likely_pages() == 6);
    CHECK(scene.utterance(40)->likely_pages() == 6);
  }

  TEST_CASE("nobody gets a place before there is a pool, then in order, as far as pages go") {
    const Scene scene;
    Places places(1);
    const std::vector<Places::Handle> all = {scene.utterance(40), scene.utterance(14), scene.utterance(14)};
    for (const auto& each : all) places.wait(each);
    CHECK_FALSE(places.admit());
    places.open(8);
    CHECK(places.admit());
    CHECK(places.active() == std::vector<Places::Handle>{all[0], all[1]});
    CHECK(places.waiting() == 1);
    CHECK_FALSE(places.admit());
    all[0]->cancel();
    int retired = 0;
    places.retire([&](Utterance& utterance) { retired += &utterance == all[0].get() ? 1 : 100; });
    CHECK(retired == 1);
    CHECK(places.admit());
    CHECK(places.active() == std::vector<Places::Handle>{all[1], all[2]});
  }

  TEST_CASE("a short one does not pass a long one that came before it") {
    const Scene scene;
    Places places(1);
    places.open(8);
    const auto first = scene.utterance(40), second = scene.utterance(40), third = scene.utterance(14);
    for (const auto& each : {first, second, third}) places.wait(each);
    places.admit();
    CHECK(places.active() == std::vector<Places::Handle>{first});
  }

  TEST_CASE("no more than four share the pages of one") {
    const Scene scene;
    Places places(1);
    places.open(100);
    for (int i = 0; i < 6; ++i) places.wait(scene.utterance(1));
    places.admit();
    CHECK(places.active().size() == 4);
    CHECK(places.waiting() == 2);
  }

  TEST_CASE("tells how many that begin would be left waiting") {
    const Scene scene;
    Places places(1);
    CHECK(places.left_waiting_with(*scene.utterance(14)) == 0);
    places.wait(scene.utterance(40));
    CHECK(places.left_waiting_with(*scene.utterance(14)) == 1);  // without a pool one will get a place
    places.open(8);
    CHECK(places.left_waiting_with(*scene.utterance(14)) == 0);
    CHECK(places.left_waiting_with(*scene.utterance(40)) == 1);
    places.wait(scene.utterance(40, 0, 1));
    CHECK(places.left_waiting_with(*scene.utterance(14, 0, 1)) == 0);  // later segments are not counted
  }

  TEST_CASE("one that could outgrow the pool has it for itself") {
    const Scene scene;
    Places places(1);
    places.open(4);
    const auto large = scene.utterance(40), small = scene.utterance(14);
    places.wait(large);
    places.wait(small);
    places.admit();
    CHECK(places.active() == std::vector<Places::Handle>{large});
  }

  TEST_CASE("makes room by parking who rests, and only for somebody") {
    const Scene scene;
    Places places(1);
    places.open(6);
    const auto first = scene.utterance(40), second = scene.utterance(40);
    places.wait(first);
    places.admit();
    CHECK_FALSE(places.make_room());
    first->prompt(nullptr);
    while (first->wants_work()) first->advance();  // a chunk waits for its reader
    CHECK_FALSE(places.make_room());
    places.wait(second);
    CHECK(places.make_room());
    CHECK(places.parked() == 1);
    places.admit();
    CHECK(places.active() == std::vector<Places::Handle>{second});
    CHECK(first->take().has_value());
    CHECK_FALSE(places.admit());
    second->cancel();
    places.retire([](Utterance&) {});
    CHECK(places.admit());
    CHECK(places.active() == std::vector<Places::Handle>{first});
    CHECK(places.parked() == 0);
  }
}
