#include "engine/step_times.h"

#include <doctest.h>

#include <algorithm>

#include "support/compare.h"
#include "support/fixtures.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::StepPath;
using engine::StepTimes;

TEST_SUITE("engine/step_times") {
  TEST_CASE("times each step of each position, by either path, and counts the bytes as they are held") {
    for (const at::Device& device : devices())
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        const engine::SpeechModel model(golden_description(device, dtype));
        const models::FirstStage& stage = model.first_stage();
        const layers::KvCache cache = stage.make_cache(2, 1);
        const auto size = static_cast<int64_t>(c10::elementSize(dtype));
        for (const StepPath path : {StepPath::own, StepPath::libtorch}) {
          const StepTimes found = engine::step_times(model, {1, stage.window() - 2, 40}, 3, path);
          CHECK(found.seconds.size() == 9);
          CHECK(std::all_of(found.seconds.begin(), found.seconds.end(), [](double seconds) { return seconds > 0 && seconds < 60; }));
          // Keys and values of two rows in each layer.
          CHECK(found.position_bytes == cache.layers() * 2 * 2 * stage.width() * size);
          CHECK(found.weight_bytes == stage.step_bytes());
        }
        const int64_t head = stage.vocabulary() * stage.width() * 4;
        CHECK(stage.step_bytes() > head);
        CHECK((stage.step_bytes() - head) % size == 0);
        check_refused([&] { engine::step_times(model, {stage.window() - 1}, 1, StepPath::own); }, "ERR_INTERNAL", "positions inside the window");
      }
  }
}
