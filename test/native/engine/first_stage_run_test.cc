#include "engine/first_stage_run.h"

#include <doctest.h>

#include <limits>

#include "engine/health.h"
#include "support/compare.h"
#include "support/overflow.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::FirstStageRun;

namespace {

const std::vector<int64_t> kText = {33, 36, 34, 40}, kIds = {3, 20, 7, 31, 0, 16, 9};

models::FirstStage stage_of(const Tensors& tensors, at::Device device, at::ScalarType dtype) {
  return {opened(tensors, {device, dtype}), first_config_of(tensors)};
}

struct Found {
  at::Tensor logits;  // [1 + ids, rows, vocabulary]
  int64_t redone;
};

Found run(const models::FirstStage& stage, int64_t rows = 2) {
  FirstStageRun run(stage, at::linspace(-1, 1, 5), rows, 64);
  std::vector<at::Tensor> logits = {run.prompt(at::tensor(kText, at::kLong))};
  for (const int64_t id : kIds) logits.push_back(run.step(id));
  CHECK(run.positions() == static_cast<int64_t>(kText.size() + kIds.size()));
  return {at::stack(logits).to(at::kCPU), run.redone()};
}

// One head as wide as a number. Token 3 has an infinite key in float16 that its own query does not notice; token 4 does.
Tensors with_hidden_infinity() {
  Tensors tensors = scripted_first_stage(script_of(1, 4, 8), kSmallVocabulary);
  const int64_t width = tensors.at("positions.weight").size(1);
  at::Tensor qkv = at::zeros({3 * width, width}), tokens = at::zeros({kSmallVocabulary, width});
  // Of the two axes the norm sees 1 and ±1: queries ±1, keys 0 or 120,000, both in the first head.
  tokens.select(1, 0).fill_(1);
  tokens.select(1, 1).fill_(1);
  tokens[3][1] = -1;
  qkv[0][1] = 1;
  qkv[width][0] = 60000;
  qkv[width][1] = -60000;
  tensors["tokens.0.weight"] = tokens;
  tensors["positions.weight"] = at::zeros({8, width});
  tensors["layers.0.attention_norm.weight"] = at::full({width}, std::sqrt(2.0 / static_cast<double>(width)));
  tensors["layers.0.attention.qkv.weight"] = qkv;
  tensors["speaker.weight"] = at::zeros({width, 5});
  return tensors;
}

}  // namespace

TEST_SUITE("engine/first_stage_run") {
  TEST_CASE("a healthy model redoes nothing") {
    for (const at::Device& device : devices())
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16})
        CHECK(run(stage_of(small_first_stage(64), device, dtype)).redone == 0);
  }

  TEST_CASE("steps that overflow float16 are those of the same weights in float32") {
    for (const at::Device& device : devices()) {
      for (const auto& tensors : {overflowing_inside(small_first_stage(64)), overflowing_keys(small_first_stage(64))}) {
        for (const int64_t rows : {2, 3}) {
          const Found wide = run(stage_of(rounded_to_half(tensors), device, at::kFloat), rows);
          const Found narrow = run(stage_of(tensors, device, at::kHalf), rows);
          CHECK(wide.redone == 0);
          CHECK(narrow.redone > 0);
          CHECK(at::isfinite(narrow.logits).all().item<bool>());
          // Steps that did not overflow are float16's own.
          check_close(narrow.logits, wide.logits, 0.2, "logits on " + device.str());
        }
      }
    }
  }

  TEST_CASE("bfloat16 has the range and redoes nothing") {
    CHECK(run(stage_of(overflowing_inside(small_first_stage(64)), at::kCPU, at::kBFloat16)).redone == 0);
  }

  TEST_CASE("an infinity that a step left in the cache unseen is found by the next, and mended") {
    for (const at::Device& device : devices()) {
      const Tensors tensors = with_hidden_infinity();
      const auto logits = [&](at::ScalarType dtype, int64_t& redone) {
        const models::FirstStage stage = stage_of(tensors, device, dtype);
        FirstStageRun run(stage, at::zeros({5}), 2, 8);
        std::vector<at::Tensor> found = {run.prompt(at::tensor({4}, at::kLong)), run.step(3)};
        redone = run.redone();
        for (const int64_t id : {4, 3, 4}) found.push_back(run.step(id));
        CHECK(run.positions() == 5);
        CHECK((run.redone() > redone) == (dtype == at::kHalf));
        return at::stack(found).to(at::kCPU);
      };
      int64_t before = 0, none = 0;
      const at::Tensor narrow = logits(at::kHalf, before);
      CHECK(before == 0);
      check_close(narrow, logits(at::kFloat, none), 0.05, "logits on " + device.str());
    }
  }

  TEST_CASE("sought positions are there, in pages and alone, and those that were fed stay") {
    for (const at::Device& device : devices()) {
      const models::FirstStage stage = stage_of(small_first_stage(64), device, at::kFloat);
      layers::KvPool pool = stage.make_pool(8);
      for (layers::KvPool* pages : {static_cast<layers::KvPool*>(nullptr), &pool}) {
        FirstStageRun run(stage, at::linspace(-1, 1, 5), 2, 64);
        run.prompt(at::tensor(kText, at::kLong), pages);
        run.seek(50);
        CHECK(run.positions() == 50);
        CHECK(at::isfinite(run.step(3)).all().item<bool>());
        CHECK(run.positions() == 51);
        run.seek(4);
        CHECK(run.positions() == 4);
        FirstStageRun plain(stage, at::linspace(-1, 1, 5), 2, 64);
        plain.prompt(at::tensor(kText, at::kLong));
        check_close(run.step(7), plain.step(7).to(at::kDouble).cpu(), kSameTolerance, "the step behind the prompt");
        run.seek(63);
        CHECK(run.positions() == 63);
        check_refused([&] { run.seek(65); }, "ERR_INTERNAL", "room for the positions");
      }
      CHECK(pool.unused() == pool.pages());
    }
  }

  TEST_CASE("what is not finite in float32 either is ERR_NUMERIC, in every dtype") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        Tensors tensors = small_first_stage(64);
        tensors["layers.1.attention.out.weight"][3][5] = std::numeric_limits<float>::infinity();
        const models::FirstStage stage = stage_of(tensors, device, dtype);
        check_refused([&] { run(stage); }, "ERR_NUMERIC", "expected finite numbers from the first stage");
        // Later ids bring it, too: the prompt is fine.
        tensors = small_first_stage(64);
        tensors["tokens.0.weight"][7][2] = std::numeric_limits<float>::quiet_NaN();
        check_refused([&] { run(stage_of(tensors, device, dtype)); }, "ERR_NUMERIC", "first stage");
      }
    }
  }

  TEST_CASE("refuses a second prompt, and ids before the first") {
    const models::FirstStage stage = stage_of(small_first_stage(64), at::kCPU, at::kFloat);
    FirstStageRun run(stage, at::zeros({5}), 2, 16);
    check_refused([&] { run.step(3); }, "ERR_INTERNAL", "a prompt before the first id");
    run.prompt(at::tensor(kText, at::kLong));
    check_refused([&] { run.prompt(at::tensor(kText, at::kLong)); }, "ERR_INTERNAL", "a prompt that comes first");
  }
}
