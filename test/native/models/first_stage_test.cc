#include "models/first_stage.h"

#include <doctest.h>

#include "ops/sampling.h"
#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::FirstStage;

namespace {

const std::vector<at::ScalarType> kDtypes = {at::kFloat, at::kHalf, at::kBFloat16};

at::Tensor whole(const FirstStage& stage, const at::Tensor& ids, const at::Tensor& speaker, int64_t rows) {
  layers::KvCache cache = stage.make_cache(rows, ids.size(0));
  return stage.forward_all(stage.branches(ids, rows), stage.conditioning(speaker, rows), cache).cpu();
}

// The golden prompt, then the golden ids one by one: the logits of every step [steps, 2, vocabulary].
at::Tensor forced(const FirstStage& stage, const at::Tensor& prompt, const at::Tensor& ids, const at::Tensor& speaker) {
  const at::Tensor conditioning = stage.conditioning(speaker, 2);
  layers::KvCache cache = stage.make_cache(2, prompt.size(0) + ids.size(0));
  std::vector<at::Tensor> result = {stage.forward(stage.branches(prompt, 2), conditioning, cache).cpu()};
  for (int64_t i = 0; i + 1 < ids.size(0); ++i)
    result.push_back(stage.forward(ids[i].view({1, 1}).expand({2, 1}).contiguous().to(conditioning.device()), conditioning, cache).cpu());
  return at::stack(result);
}

}  // namespace

TEST_SUITE("models/first_stage") {
  TEST_CASE("refuses configurations that do not fit the tables") {
    const auto refused = [](void (*change)(models::FirstStageConfig&), const NetworkSizes& sizes) {
      models::FirstStageConfig config = small_first_config();
      change(config);
      check_refused([&] { FirstStage(opened(random_transformer(sizes, 1)), config); }, "ERR_CHECKPOINT", "expected a first stage of one table");
    };
    const NetworkSizes sound{.vocabularies = {41}};
    refused([](auto& config) { config.end_of_text = 41; }, sound);
    refused([](auto& config) { config.end_of_text = 32; }, sound);
    refused([](auto& config) { config.end_of_audio = 31; }, sound);
    refused([](auto& config) { config.codebook_size = 0; config.end_of_audio = 0; }, sound);
    refused([](auto&) {}, {.vocabularies = {41, 41}});
    refused([](auto&) {}, {.vocabularies = {41}, .outputs = {40}});
    refused([](auto&) {}, {.vocabularies = {41}, .outputs = {41, 41}});
  }

  TEST_CASE("refuses a file with tensors that are not its own") {
    Tensors tensors = random_transformer({.vocabularies = {41}}, 1);
    tensors["layers.7.attention_norm.weight"] = at::ones({16});
    check_refused([&] { FirstStage(opened(tensors), small_first_config()); }, "ERR_CHECKPOINT", "layers.7.attention_norm.weight that no network");
  }

  TEST_CASE("counts the bytes of a step as they are held: matrices in its dtype, the output layer in float32") {
    for (const auto& [dtype, size] : {std::pair{at::kFloat, 4}, {at::kBFloat16, 2}}) {
      const FirstStage stage(opened(random_transformer({.vocabularies = {41}}, 1), {at::kCPU, dtype}), small_first_config());
      CHECK(stage.step_bytes() == 2 * (4 * 16 * 16 + 3 * 24 * 16) * size + 41 * 16 * 4);
    }
  }

  TEST_CASE("refuses positions past the window") {
    const FirstStage stage(opened(random_transformer({.window = 4, .vocabularies = {41}}, 1)), small_first_config());
    check_refused([&] { whole(stage, at::full({5}, 33), at::ones({5}), 2); }, "ERR_INTERNAL", "inside the window");
  }

  TEST_CASE("gives the golden logits of the prompt and of every step, in every dtype") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : kDtypes) {
        CAPTURE(device.str());
        const FirstStage stage = golden_first_stage(device, dtype);
        const at::Tensor prompt = numbers("prompt"), ids = numbers("first.greedy"), speaker = golden("llm", "speaker");
        const std::string name = std::string(" logits, ") + at::toString(dtype) + " on " + device.str();
        check_close(whole(stage, prompt, speaker, 2), golden("llm", "first.prefill_logits"), logit_tolerance(dtype), "prefill" + name);
        const at::Tensor found = forced(stage, prompt, ids, speaker), wanted = golden("llm", "first.decode_logits");
        check_close(found, wanted, logit_tolerance(dtype), "decode" + name);

        // Greedy ids agree wherever the golden margin is larger than what the allowed error can turn.
        int agreed = 0, judged = 0;
        for (int64_t i = 0; i < ids.size(0); ++i) {
          const auto guided = [&](const at::Tensor& rows) { return 3 * rows[i][0] - 2 * rows[i][1]; };
          const at::Tensor best = std::get<0>(at::topk(guided(wanted), 2));
          const double margin = (best[0] - best[1]).item<double>();
          const bool same = guided(found).argmax().item<int64_t>() == ids[i].item<int64_t>();
          agreed += same ? 1 : 0;
          if (margin <= 2 * 5 * logit_tolerance(dtype)) continue;
          ++judged;
          CAPTURE(i);
          CHECK(same);
        }
        if (settings().report) std::cerr << "    greedy" << name << ": " << agreed << " of " << ids.size(0) << " agree, " << judged << " judged\n";
        CHECK(agreed >= ids.size(0) * 3 / 4);
        if (dtype == at::kFloat) CHECK(agreed == ids.size(0));
      }
    }
  }

  TEST_CASE("gives the golden logits of three branches") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : kDtypes) {
        const FirstStage stage = golden_first_stage(device, dtype);
        const at::Tensor prompt = numbers("prompt");
        layers::KvCache cache = stage.make_cache(3, prompt.size(0));
        const at::Tensor rows = stage.forward(stage.branches(prompt, 3), stage.conditioning(golden("llm", "speaker"), 3), cache).cpu().contiguous();
        const std::string name = std::string(at::toString(dtype)) + " on " + device.str();
        check_close(rows, golden("llm", "first.three_branch"), logit_tolerance(dtype), "three branches, " + name);
        const std::vector<float> guided = ops::guide(rows.data_ptr<float>(), rows.size(1), {3, 2});
        // Guidance multiplies the error: by 4 + 2 + 1.
        check_close(at::tensor(guided), golden("llm", "first.three_branch_guided").view({-1}), 7 * logit_tolerance(dtype), "guided, " + name);
      }
    }
  }

  TEST_CASE("decoding through the cache equals recomputing everything") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : kDtypes) {
        CAPTURE(device.str());
        const FirstStage stage = golden_first_stage(device, dtype);
        const at::Tensor all = Numbers(51).integers(2562, {40}), speaker = golden("llm", "speaker");
        const at::Tensor recomputed = whole(stage, all, speaker, 2).narrow(1, 4, 36).transpose(0, 1);
        const at::Tensor stepped = forced(stage, all.narrow(0, 0, 5), all.narrow(0, 5, 35 + 0), speaker);
        check_close(stepped, recomputed.narrow(0, 0, 35), dtype == at::kFloat ? 1e-5 : logit_tolerance(dtype), "cached");
      }
    }
  }

  TEST_CASE("row 1 is a run without the speaker, and guidance 1 is row 0") {
    const FirstStage stage = golden_first_stage(at::kCPU);
    const at::Tensor prompt = numbers("prompt"), speaker = golden("llm", "speaker");
    const at::Tensor rows = whole(stage, prompt, speaker, 2), silent = whole(stage, prompt, at::zeros_like(speaker), 1);
    check_close(rows[1], silent[0], 1e-5, "row 1");
    const at::Tensor last = rows.select(1, prompt.size(0) - 1).contiguous();
    check_equal(at::tensor(ops::guide(last.data_ptr<float>(), last.size(1), {1, 1})), last[0], "guidance 1");
  }

  TEST_CASE("branches replace the text of the third row by end of text, and only it") {
    const FirstStage stage(opened(random_transformer({.vocabularies = {41}}, 1)), small_first_config());
    const at::Tensor prompt = at::tensor({33, 3, 20, 32, 39, 40}, at::kLong);
    const at::Tensor rows = stage.branches(prompt, 3);
    check_equal(rows[0], prompt, "row 0");
    check_equal(rows[1], prompt, "row 1");
    check_equal(rows[2], at::tensor({40, 3, 20, 32, 40, 40}, at::kLong), "row 2");
    CHECK(stage.branches(prompt, 2).size(0) == 2);
    const at::Tensor conditioning = stage.conditioning(at::ones({5}), 3);
    CHECK(conditioning[1].abs().max().item<float>() == 0);
    check_equal(conditioning[0], conditioning[2], "speaker of rows 0 and 2");
  }

  TEST_CASE("networks of other sizes are the plain formula: depth, heads, width, biases, tied or not, with a speaker or none") {
    struct Variant {
      NetworkSizes sizes;
      bool rms;
    };
    const std::vector<Variant> variants = {
        {{.layers = 1, .heads = 1, .width = 8, .hidden = 12, .vocabularies = {41}}, true},
        {{.layers = 4, .heads = 4, .width = 32, .hidden = 40, .vocabularies = {41}, .outputs = {41}, .speaker = 7}, true},
        {{.layers = 2, .heads = 3, .width = 24, .hidden = 16, .vocabularies = {50}, .speaker = 0, .biases = true}, true},
        {{.layers = 3, .heads = 2, .width = 20, .hidden = 30, .vocabularies = {41}, .swiglu = false, .biases = true, .norm_biases = true}, false}};
    for (const at::Device& device : devices()) {
      for (const Variant& variant : variants) {
        const Tensors tensors = random_transformer(variant.sizes, 52);
        models::FirstStageConfig config = small_first_config();
        config.heads = variant.sizes.heads;
        config.norm = variant.rms ? layers::NormKind::rms : layers::NormKind::layer;
        config.activation = variant.sizes.swiglu ? layers::Activation::swiglu : layers::Activation::gelu;
        const std::vector<int64_t> ids = Numbers(53).list(0, 41, 17);
        const bool spoken = variant.sizes.speaker > 0;
        const at::Tensor speaker = Numbers(54).normal({std::max<int64_t>(1, variant.sizes.speaker)}, 1);
        const plain::Shape shape{variant.sizes.heads, variant.rms, variant.sizes.swiglu, true, 1e-5};
        for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 5e-5}, {at::kHalf, 0.05}, {at::kBFloat16, 0.4}}) {
          const FirstStage stage(opened(tensors, {device, dtype}), config);
          CHECK(stage.vocabulary() == variant.sizes.vocabularies[0]);
          const at::Tensor found = whole(stage, at::tensor(ids), speaker, 2);
          const std::string name = std::to_string(variant.sizes.layers) + " layers, " + at::toString(dtype) + " on " + device.str();
          check_close(found[0], plain::output(tensors, 0, plain::transformer(tensors, {ids}, spoken ? speaker : at::Tensor(), shape)), tolerance, "row 0, " + name);
          check_close(found[1], plain::output(tensors, 0, plain::transformer(tensors, {ids}, {}, shape)), tolerance, "row 1, " + name);
        }
      }
    }
  }
}
