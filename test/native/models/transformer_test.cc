#include "models/transformer.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::Transformer;
using models::TransformerConfig;

namespace {

TransformerConfig config(int64_t heads) {
  TransformerConfig result;
  result.heads = heads;
  return result;
}

}  // namespace

TEST_SUITE("models/transformer") {
  TEST_CASE("refuses heads that do not divide the width") {
    const core::Weights weights = opened(random_transformer({.vocabularies = {9}}, 1));
    for (const int64_t heads : {0, -1, 3, 32})
      check_refused([&] { Transformer::load(weights, config(heads)); }, "ERR_CHECKPOINT", "divides the width 16 but found " + std::to_string(heads));
  }

  TEST_CASE("refuses a file without blocks, tables or positions, and one of mixed widths") {
    for (const char* name : {"layers.0.attention_norm.weight", "tokens.0.weight", "positions.weight", "norm.weight"}) {
      Tensors tensors = random_transformer({.layers = 1, .vocabularies = {9}}, 1);
      tensors.erase(name);
      check_refused([&] { Transformer::load(opened(tensors), config(2)); }, "ERR_CHECKPOINT", std::string("no tensor ") + name);
      tensors[name] = at::ones({15, 15});
      check_refused([&] { Transformer::load(opened(tensors), config(5)); }, "ERR_CHECKPOINT", "but found");
    }
  }

  TEST_CASE("reads every size from the file") {
    const core::Weights weights = opened(random_transformer(
        {.layers = 3, .width = 24, .window = 10, .vocabularies = {9, 8, 7}, .outputs = {5, 6}, .speaker = 3}, 1));
    const Transformer found = Transformer::load(weights, config(4));
    CHECK(found.blocks.size() == 3);
    CHECK(found.width() == 24);
    CHECK(found.window() == 10);
    CHECK(found.head_width() == 6);
    CHECK(found.vocabulary(2) == 7);
    CHECK(found.heads.size() == 2);
    CHECK(found.speaker_width() == 3);
    CHECK_NOTHROW(weights.require_all_used());
  }

  TEST_CASE("without heads the first table is the output layer: itself on the CPU, elsewhere in float32") {
    for (const at::Device& device : devices()) {
      const Transformer found = Transformer::load(opened(random_transformer({.vocabularies = {9}, .speaker = 0}, 1), {device, at::kHalf}), config(2));
      REQUIRE(found.heads.size() == 1);
      CHECK((found.heads[0].scalar_type() == (device.is_cpu() ? at::kHalf : at::kFloat)));
      CHECK((found.heads[0].data_ptr() == found.tokens[0].data_ptr()) == device.is_cpu());
      CHECK((found.dtype() == at::kHalf));
      check_equal(found.heads[0], found.tokens[0], "tied");
      CHECK(found.speaker_width() == 0);
    }
    const Transformer apart = Transformer::load(opened(random_transformer({.vocabularies = {9}, .outputs = {9}}, 1), {at::kCPU, at::kHalf}), config(2));
    CHECK((apart.heads[0].scalar_type() == at::kFloat));
  }

  TEST_CASE("refuses a speaker of another width, or any where there is no projection") {
    const Transformer with = Transformer::load(opened(random_transformer({.vocabularies = {9}}, 1)), config(2));
    check_refused([&] { with.project_speaker(at::ones({4})); }, "ERR_INTERNAL", "of the model's width");
    CHECK(with.project_speaker(at::ones({5})).sizes() == at::IntArrayRef({1, 1, 16}));
    const Transformer without = Transformer::load(opened(random_transformer({.vocabularies = {9}, .speaker = 0}, 1)), config(2));
    check_refused([&] { without.project_speaker(at::ones({5})); }, "ERR_INTERNAL", "a speaker projection");
  }
}
