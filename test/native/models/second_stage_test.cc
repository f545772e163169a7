#include "models/second_stage.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::SecondStage;

namespace {

NetworkSizes small(int64_t window) { return {.window = window, .vocabularies = {25, 17}, .outputs = {17, 17}, .swiglu = false}; }

at::Tensor audio_logits(const SecondStage& stage, const at::Tensor& text, const at::Tensor& codes, const at::Tensor& speaker) {
  return stage.logits(stage.forward(stage.input(text, codes), speaker), text.size(0), codes.size(1)).cpu();
}

}  // namespace

TEST_SUITE("models/second_stage") {
  TEST_CASE("refuses tables and heads that are not two codebooks and their padding") {
    for (const NetworkSizes& sizes : {NetworkSizes{.vocabularies = {25}, .outputs = {17}}, {.vocabularies = {25, 17, 17}, .outputs = {17}},
                                      {.vocabularies = {25, 16}, .outputs = {17}}, {.vocabularies = {16, 17}, .outputs = {17}},
                                      {.vocabularies = {25, 17}, .outputs = {17, 16}}, {.vocabularies = {25, 17}}}) {
      models::SecondStageConfig config = small_second_config();
      config.activation = layers::Activation::swiglu;
      check_refused([&] { SecondStage(opened(random_transformer(sizes, 1)), config); }, "ERR_CHECKPOINT", "expected a second stage with two token tables");
    }
  }

  TEST_CASE("refuses a text that fills the window") {
    const SecondStage stage(opened(random_transformer(small(8), 1)), small_second_config());
    check_refused([&] { stage.input(at::full({8}, 20), at::zeros({2, 1}, at::kLong)); }, "ERR_INTERNAL", "shorter than the window");
  }

  TEST_CASE("builds the golden input") {
    const at::Tensor wanted = golden("llm", "second.input").to(at::kLong);
    const at::Tensor text = wanted[0][0].narrow(0, 0, numbers("second.columns")[0].item<int64_t>());
    check_equal(golden_second_stage(at::kCPU).input(text, numbers("second.codes")), wanted, "second.input");
  }

  TEST_CASE("the input is text, codes and padding, cut to the window: below it, at it, above it") {
    constexpr int64_t kWindow = 32, kPadding = 16;
    const SecondStage stage(opened(random_transformer(small(kWindow), 1)), small_second_config());
    for (const int64_t letters : {1, 5, 31}) {
      for (const int64_t frames : {int64_t{0}, int64_t{1}, kWindow - letters - 2, kWindow - letters - 1, kWindow - letters, kWindow - letters + 1, int64_t{100}}) {
        if (frames < 0) continue;
        CAPTURE(letters);
        CAPTURE(frames);
        Numbers numbers(61);
        const std::vector<int64_t> text = numbers.list(17, 25, letters);
        const at::Tensor codes = numbers.integers(16, {2, frames});
        std::vector<int64_t> rows[2] = {text, std::vector<int64_t>(static_cast<size_t>(letters), kPadding)};
        for (int64_t row = 0; row < 2; ++row) {
          for (int64_t i = 0; i < frames; ++i) rows[row].push_back(codes[row][i].item<int64_t>());
          rows[row].push_back(kPadding);
          rows[row].resize(kWindow, kPadding);
        }
        check_equal(stage.input(at::tensor(text), codes), at::stack({at::tensor(rows[0]), at::tensor(rows[1])}).unsqueeze(0), "input");
      }
    }
  }

  TEST_CASE("gives the golden logits and arg-max codes, in every dtype") {
    for (const at::Device& device : devices()) {
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        const SecondStage stage = golden_second_stage(device, dtype);
        const at::Tensor first = golden("llm", "second.input").to(at::kLong)[0][0], columns = numbers("second.columns");
        const int64_t letters = columns[0].item<int64_t>();
        const at::Tensor found = audio_logits(stage, first.narrow(0, 0, letters), numbers("second.codes"), golden("llm", "speaker"));
        const at::Tensor wanted = golden("llm", "second.logits"), codes = numbers("second.argmax");
        const std::string name = std::string(at::toString(dtype)) + " on " + device.str();
        check_close(found, wanted, logit_tolerance(dtype), "second logits, " + name);
        const at::Tensor best = std::get<0>(at::topk(wanted, 2));
        const at::Tensor clear = (best.select(2, 0) - best.select(2, 1)) > 2 * logit_tolerance(dtype), same = found.argmax(2) == codes;
        CHECK(at::logical_or(same, clear.logical_not()).all().item<bool>());
        if (dtype == at::kFloat) check_equal(found.argmax(2), codes, "arg-max codes on " + device.str());
        else if (settings().report)
          std::cerr << "    second arg-max, " << name << ": " << same.sum().item<int64_t>() << " of " << same.numel() << " agree, " << clear.sum().item<int64_t>() << " judged\n";
      }
    }
  }

  TEST_CASE("networks of other sizes are the plain formula: SwiGLU, RMSNorm, biases, more heads, no speaker") {
    struct Variant {
      NetworkSizes sizes;
      bool rms;
    };
    const std::vector<Variant> variants = {
        {{.layers = 1, .heads = 4, .width = 16, .window = 20, .vocabularies = {25, 17}, .outputs = {17}, .swiglu = false}, false},
        {{.layers = 3, .heads = 3, .width = 24, .window = 33, .vocabularies = {25, 17}, .outputs = {17, 17, 17}, .speaker = 0, .swiglu = false, .biases = true, .norm_biases = true}, false},
        {{.layers = 2, .heads = 2, .width = 12, .hidden = 20, .window = 24, .vocabularies = {40, 17}, .outputs = {17, 17, 17, 17, 17, 17}, .biases = true}, true}};
    for (const at::Device& device : devices()) {
      for (const Variant& variant : variants) {
        const Tensors tensors = random_transformer(variant.sizes, 62);
        models::SecondStageConfig config = small_second_config();
        config.heads = variant.sizes.heads;
        config.norm = variant.rms ? layers::NormKind::rms : layers::NormKind::layer;
        config.activation = variant.sizes.swiglu ? layers::Activation::swiglu : layers::Activation::gelu;
        Numbers numbers(63);
        const std::vector<int64_t> text = numbers.list(17, 25, 6);
        const at::Tensor codes = numbers.integers(16, {2, 9}), speaker = numbers.normal({5}, 1);
        const bool spoken = variant.sizes.speaker > 0;
        for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 5e-5}, {at::kHalf, 0.05}, {at::kBFloat16, 0.4}}) {
          const SecondStage stage(opened(tensors, {device, dtype}), config);
          CHECK(stage.predicted() == static_cast<int64_t>(variant.sizes.outputs.size()));
          const at::Tensor input = stage.input(at::tensor(text), codes), found = audio_logits(stage, at::tensor(text), codes, spoken ? speaker : at::Tensor());
          const at::Tensor hidden = plain::transformer(tensors, {to_vector(input[0][0]), to_vector(input[0][1])}, spoken ? speaker : at::Tensor(),
                                                       {variant.sizes.heads, variant.rms, variant.sizes.swiglu, false, 1e-5});
          for (int64_t head = 0; head < stage.predicted(); ++head)
            check_close(found[head], plain::output(tensors, head, hidden.narrow(0, 6, 9)), tolerance,
                        "head " + std::to_string(head) + ", " + at::toString(dtype) + " on " + device.str());
        }
      }
    }
  }
}
