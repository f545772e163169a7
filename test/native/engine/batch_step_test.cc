#include "engine/batch_step.h"

#include <doctest.h>

#include <limits>
#include <memory>
#include <optional>

#include "support/compare.h"
#include "support/kernels.h"
#include "support/overflow.h"
#include "support/speech.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::BatchStep;
using engine::CoarseDecoder;
using engine::CoarseRequest;
using engine::RowCounts;

namespace {

// Requests that differ in all that may differ between utterances.
std::vector<CoarseRequest> requests() {
  std::vector<CoarseRequest> result;
  for (uint64_t i = 0; i < 7; ++i) {
    CoarseRequest request = small_request(11 + i, 10 + 3 * static_cast<int64_t>(i)).coarse;
    request.text.resize(1 + i % 4, 35);
    request.text.push_back(40);
    request.speaker = request.speaker * (1 + static_cast<double>(i));
    if (i % 3 == 2) request.guidance = {2, 1.5};
    if (i == 4) request.constrain = false;
    if (i == 5) request.sampling = {0.7F, 0.8F, 5};
    result.push_back(request);
  }
  return result;
}

struct Stage {
  models::FirstStage model;
  layers::KvPool pool;
  BatchStep batch;

  explicit Stage(const Tensors& tensors, at::Device device = at::kCPU, at::ScalarType dtype = at::kFloat, std::optional<RowCounts> counts = {},
                 std::optional<at::ScalarType> pages = {}, const ops::DecodeKernels* kernels = nullptr)
      : model(opened(tensors, {device, dtype}), first_config_of(tensors), pages),
        pool(model.make_pool(64)),
        batch(with_kernels(kernels), pool, counts ? *counts : RowCounts::of(model, 64, device.is_cuda())) {}

 private:
  const models::FirstStage& with_kernels(const ops::DecodeKernels* kernels) {
    if (kernels != nullptr) model.use_kernels(kernels);
    return model;
  }
};

// Steps all of them to their ends, newcomers joining one by one, so many steps at once. -> the codes of each
std::vector<at::Tensor> speak_together(Stage& stage, const std::vector<CoarseRequest>& wanted, int64_t steps = 1, int64_t* redone = nullptr) {
  std::vector<std::unique_ptr<CoarseDecoder>> decoders;
  std::vector<at::Tensor> codes(wanted.size());
  while (true) {
    if (decoders.size() < wanted.size()) {
      decoders.push_back(std::make_unique<CoarseDecoder>(stage.model, wanted[decoders.size()]));
      decoders.back()->prefill(&stage.pool);
    }
    std::vector<CoarseDecoder*> together;
    for (const auto& decoder : decoders) {
      if (!decoder || decoder->ended()) continue;
      if (!decoder->run().paged()) {
        decoder->step();
        continue;
      }
      decoder->run().extend(std::min(steps, decoder->left()));
      together.push_back(decoder.get());
    }
    for (const auto& [decoder, failure] : stage.batch.run(together, steps)) std::rethrow_exception(failure);
    bool all = decoders.size() == wanted.size();
    for (size_t i = 0; i < decoders.size(); ++i) {
      if (!decoders[i]) continue;
      if (!decoders[i]->ended()) {
        all = false;
        continue;
      }
      codes[i] = decoders[i]->codes(0, decoders[i]->frames());
      if (redone != nullptr) *redone += decoders[i]->redone();
      decoders[i].reset();
    }
    if (all) return codes;
  }
}

// The dtypes of the model and of its pages.
const std::vector<std::pair<at::ScalarType, at::ScalarType>> kKinds = {
    {at::kFloat, at::kFloat}, {at::kHalf, at::kHalf},   {at::kBFloat16, at::kBFloat16}, {at::kFloat, at::kHalf},
    {at::kFloat, at::kChar},  {at::kHalf, at::kChar},   {at::kBFloat16, at::kChar}};

void check_company(const Tensors& tensors, at::Device device, at::ScalarType dtype, at::ScalarType pages) {
  Stage stage(tensors, device, dtype, {}, pages);
  const std::vector<at::Tensor> together = speak_together(stage, requests());
  for (size_t i = 0; i < together.size(); ++i) {
    CAPTURE(i);
    CHECK(together[i].size(1) > 0);
    check_equal(speak_together(stage, {requests()[i]})[0], together[i], "in company and alone");
  }
  CHECK(stage.pool.unused() == stage.pool.pages());
}

}  // namespace

TEST_SUITE("engine/batch_step") {
  TEST_CASE("an utterance says in company what it says alone, whoever comes and goes, on every device in every dtype") {
    for (const at::Device& device : devices())
      for (const auto& [dtype, pages] : kKinds) check_company(small_first_stage(128), device, dtype, pages);
  }

  TEST_CASE("logits of a step are those of the contiguous cache, within rounding") {
    Stage stage(small_first_stage(128));
    const CoarseRequest request = requests()[2];
    CoarseDecoder together(stage.model, request);
    engine::FirstStageRun alone(stage.model, request.speaker, request.guidance.rows(), 100);
    const at::Tensor text = at::tensor(request.text, at::kLong);
    engine::FirstStageRun paged(stage.model, request.speaker, request.guidance.rows(), 100);
    check_equal(paged.prompt(text, &stage.pool), alone.prompt(text), "prompt");
    REQUIRE(paged.paged());
    for (int64_t id = 0; id < 60; ++id) {
      paged.extend();
      std::vector<const ops::PagedRow*> rows;
      for (const ops::PagedRow& row : paged.paged_rows()) rows.push_back(&row);
      const at::Tensor ids = at::full({4}, id % 32), positions = at::full({4}, paged.positions());
      const at::Tensor conditioning = at::cat({paged.conditioning().squeeze(1), at::zeros({1, stage.model.width()})});
      const at::Tensor found = stage.model.step(ids, positions, conditioning, stage.pool.memory(), rows);
      check_close(found.narrow(0, 0, 3), alone.step(id % 32).to(at::kDouble), 1e-5, "step " + std::to_string(id));
      paged.advance(id % 32);
    }
  }

  TEST_CASE("parked and brought back it goes on as if nothing had been") {
    for (const auto& [dtype, pages] : kKinds) {
      Stage stage(small_first_stage(128), at::kCPU, dtype, {}, pages);
      const at::Tensor wanted = speak_together(stage, {requests()[3]})[0];
      CoarseDecoder decoder(stage.model, requests()[3]);
      decoder.prefill(&stage.pool);
      for (int step = 0; !decoder.ended(); ++step) {
        if (step % 3 == 0) {
          decoder.run().park();
          CHECK(stage.pool.unused() == stage.pool.pages());
          CHECK_FALSE(decoder.run().paged());
          decoder.run().unpark();
          REQUIRE(decoder.run().paged());
        }
        decoder.run().extend();
        stage.batch.run({&decoder});
      }
      check_equal(decoder.codes(0, decoder.frames()), wanted, "codes");
    }
  }

  TEST_CASE("one that overflows takes its step again in float32, and harms nobody") {
    for (const auto& tensors : {overflowing_inside(small_first_stage(128)), overflowing_keys(small_first_stage(128))}) {
      Stage stage(tensors, at::kCPU, at::kHalf);
      std::vector<CoarseRequest> wanted = requests();
      const std::vector<at::Tensor> together = speak_together(stage, wanted);
      for (size_t i = 0; i < wanted.size(); ++i) check_equal(speak_together(stage, {wanted[i]})[0], together[i], "codes");
      CoarseDecoder one(stage.model, wanted[0]);
      one.prefill(&stage.pool);
      while (!one.ended()) {
        if (one.run().paged()) {
          one.run().extend();
          stage.batch.run({&one});
        } else {
          one.step();
        }
      }
      CHECK(one.redone() > 0);
    }
  }

  TEST_CASE("with pages in int8 logits are near those of the contiguous cache, and the greedy ids mostly the same") {
    for (const auto& [dtype, pages] : kKinds) {
      if (pages == dtype) continue;
      Stage stage(small_first_stage(128), at::kCPU, dtype, {}, pages);
      const CoarseRequest request = requests()[2];
      engine::FirstStageRun alone(stage.model, request.speaker, 2, 100), paged(stage.model, request.speaker, 2, 100);
      const at::Tensor text = at::tensor(request.text, at::kLong);
      check_equal(paged.prompt(text, &stage.pool), alone.prompt(text), "prompt");
      REQUIRE(paged.paged());
      int same = 0;
      constexpr int kSteps = 60;
      for (int64_t id = 0; id < kSteps; ++id) {
        paged.extend();
        std::vector<const ops::PagedRow*> rows;
        for (const ops::PagedRow& row : paged.paged_rows()) rows.push_back(&row);
        const at::Tensor found = stage.model.step(at::full({2}, id % 32), at::full({2}, paged.positions()), paged.conditioning().squeeze(1), stage.pool.memory(), rows);
        const at::Tensor wanted = alone.step(id % 32);
        // Of logits around one; pages in float16 round at the eleventh bit.
        check_close(found, wanted.to(at::kDouble), pages == at::kChar ? 0.1 : 0.01, "step " + std::to_string(id));
        if (found.argmax(-1).equal(wanted.argmax(-1))) ++same;
        paged.advance(id % 32);
      }
      CHECK(same >= kSteps * 9 / 10);
    }
  }

  TEST_CASE("a step that is taken alone leaves what pages hold as it is") {
    for (const auto& [dtype, pages] : kKinds) {
      Stage stage(small_first_stage(128), at::kCPU, dtype, {}, pages);
      CoarseDecoder decoder(stage.model, requests()[2]);
      decoder.prefill(&stage.pool);
      for (int step = 0; step < 40 && !decoder.ended(); ++step) {
        const int64_t length = decoder.run().positions();
        std::vector<std::pair<at::Tensor, at::Tensor>> before, after;
        const auto held = [&](std::vector<std::pair<at::Tensor, at::Tensor>>& all) {
          for (ops::PagedRow row : decoder.run().paged_rows()) {
            row.length = length;
            for (int64_t layer = 0; layer < stage.pool.layers(); ++layer) all.push_back(stage.pool.read(row, layer));
          }
        };
        held(before);
        decoder.step();
        REQUIRE(decoder.run().paged());
        CHECK(decoder.run().positions() == length + 1);
        held(after);
        for (size_t i = 0; i < before.size(); ++i) {
          check_equal(after[i].first, before[i].first, "keys");
          check_equal(after[i].second, before[i].second, "values");
        }
      }
      CHECK(decoder.steps() > 10);
    }
  }

  TEST_CASE("keys beyond float16 are held by pages of int8, not by those of float16, and what is said is finite") {
    const Tensors tensors = overflowing_keys(small_first_stage(128));
    for (const at::ScalarType pages : {at::kHalf, at::kChar}) {
      Stage stage(tensors, at::kCPU, at::kFloat, {}, pages);
      CoarseDecoder decoder(stage.model, requests()[0]);
      decoder.prefill(&stage.pool);
      CHECK(decoder.run().paged() == (pages == at::kChar));
      const at::Tensor alone = speak_together(stage, {requests()[0]})[0];
      CHECK(alone.size(1) > 0);
      check_equal(speak_together(stage, requests())[0], alone, "in company and alone");
    }
  }

  TEST_CASE("what fails is told, and the others have gone on") {
    // One speaker is so loud that nothing finite is left, in float32, too.
    Stage stage(small_first_stage(128));
    std::vector<CoarseRequest> wanted = {requests()[0], requests()[1]};
    CoarseDecoder well(stage.model, wanted[0]), ill(stage.model, wanted[1]);
    well.prefill(&stage.pool);
    ill.prefill(&stage.pool);
    // Its past becomes infinite.
    for (const ops::PagedRow& row : ill.run().paged_rows()) stage.pool.memory().values(0, row.pages[0]).fill_(std::numeric_limits<float>::infinity());
    well.run().extend();
    ill.run().extend();
    const BatchStep::Failures failures = stage.batch.run({&ill, &well});
    REQUIRE(failures.size() == 1);
    CHECK(failures[0].first == &ill);
    CHECK(code_of(failures[0].second) == "ERR_NUMERIC");
    CHECK(well.steps() == 2);
  }

  TEST_CASE("where the host draws, steps go one by one") {
    Stage stage(small_first_stage(128));
    CHECK(stage.batch.most_steps() == 1);
    check_refused([&] { stage.batch.run({}, 2); }, "ERR_INTERNAL", "steps that go in one launch");
  }

  TEST_CASE("of kernels that draw, an utterance says the same in one step or eight at once, alone and in company") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      if (kernels == nullptr) {
        MESSAGE("no kernels for " << device.str());
        continue;
      }
      std::vector<CoarseRequest> wanted = requests();
      wanted.resize(6);
      for (CoarseRequest& request : wanted) request.maximum_frames = std::min<int64_t>(request.maximum_frames, 13);
      // One that ends by itself, sooner or later.
      Tensors ending = served_first_stage(128);
      ending["heads.0.weight"][32].zero_();
      for (const Tensors& tensors : {served_first_stage(128), ending}) {
        const auto counts = [] { return RowCounts(64, [](int64_t) { return true; }); };
        Stage stage(tensors, device, at::kFloat, counts(), {}, kernels);
        REQUIRE(stage.batch.most_steps() == 8);
        const std::vector<at::Tensor> one = speak_together(stage, wanted), eight = speak_together(stage, wanted, 8), five = speak_together(stage, {wanted[2]}, 5);
        for (size_t i = 0; i < wanted.size(); ++i) check_equal(eight[i], one[i], "codes of " + std::to_string(i));
        check_equal(five[0], one[2], "codes alone");
        CHECK(stage.pool.unused() == stage.pool.pages());
      }
    }
  }

  TEST_CASE("of kernels that draw, one that overflows takes that step again in float32, and goes on") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      if (kernels == nullptr) continue;
      std::vector<CoarseRequest> wanted = requests();
      wanted.resize(2);
      for (CoarseRequest& request : wanted) request.maximum_frames = 4;
      Stage stage(overflowing_inside(served_first_stage(128), 3e5), device, at::kHalf, RowCounts(64, [](int64_t) { return true; }), {}, kernels);
      int64_t redone = 0;
      const std::vector<at::Tensor> one = speak_together(stage, wanted, 1, &redone), eight = speak_together(stage, wanted, 8, &redone);
      CHECK(redone > 8);  // steps, beside the prompts
      for (size_t i = 0; i < wanted.size(); ++i) check_equal(eight[i], one[i], "codes");
    }
  }

  TEST_CASE("more rows than any safe number go in several batches, with the same bits") {
    Stage stage(small_first_stage(128));
    const std::vector<at::Tensor> wanted = speak_together(stage, requests());
    Stage narrow(small_first_stage(128), at::kCPU, at::kFloat, RowCounts(64, [](int64_t rows) { return rows <= 4; }));
    const std::vector<at::Tensor> found = speak_together(narrow, requests());
    for (size_t i = 0; i < wanted.size(); ++i) check_equal(found[i], wanted[i], "codes");
  }
}
