#include "engine/speech_model.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::ModelDescription;
using engine::SpeechModel;

TEST_SUITE("engine/speech_model") {
  TEST_CASE("refuses a device that is not there") {
    if (at::hasCUDA()) return;
    ModelDescription description;
    description.device = "cuda:0";
    check_refused([&] { SpeechModel{description}; }, "ERR_CUDA_UNAVAILABLE", "cuda:0 was asked for");
  }

  TEST_CASE("refuses the use of a part that it has not, by name") {
    const SpeechModel model{ModelDescription{}};
    CHECK_FALSE(model.has_first_stage());
    check_refused([&] { model.first_stage(); }, "ERR_MODEL_NOT_FOUND", "no first stage");
    check_refused([&] { model.second_stage(); }, "ERR_MODEL_NOT_FOUND", "no second stage");
    check_refused([&] { model.speaker_encoder(); }, "ERR_MODEL_NOT_FOUND", "no speaker encoder");
    check_refused([&] { model.codec(); }, "ERR_MODEL_NOT_FOUND", "no codec");
    check_refused([&] { model.enhancer(); }, "ERR_MODEL_NOT_FOUND", "no enhancer");
  }

  TEST_CASE("refuses a file that is absent") {
    ModelDescription description;
    description.codec = {"/nowhere/codec.safetensors", {24000, {4, 3}, 4}};
    check_refused([&] { SpeechModel{description}; }, "ERR_MODEL_NOT_FOUND", "/nowhere/codec.safetensors");
  }

  TEST_CASE("refuses parts of different models") {
    const auto refused = [](const Tensors& first, const Tensors& second, const CodecSizes& codec, const std::string& words) {
      SmallModel model(first, second);
      write_safetensors(model.folder.file("codec"), random_codec(codec, 3));
      model.description.codec->config.codebooks = codec.codebooks;
      check_refused([&] { model.load(); }, "ERR_CHECKPOINT", words);
    };
    const Tensors first = small_first_stage(32), second = small_second_stage(32);
    refused(first, second, {.codebook_size = 15}, "disagree about the codes of a codebook: 16 and 15");
    refused(first, second, {.codebooks = 3}, "disagree about the number of codebooks: 4 and 3");
    Tensors other = second;
    other["speaker.weight"] = at::ones({16, 6});
    refused(first, other, {}, "disagree about the width of the speaker embedding: 5 and 6");
  }

  TEST_CASE("leaves out an enhancer whose weights are not sound, and says why when it is asked for") {
    ModelDescription description = golden_description(at::kCPU);
    description.enhancer->config.least_bins = 3;
    const SpeechModel model(description);
    CHECK_FALSE(model.has_enhancer());
    REQUIRE(model.refused_enhancer());
    CHECK(model.refused_enhancer()->code() == "ERR_CHECKPOINT");
    check_refused([&] { model.enhancer(); }, "ERR_CHECKPOINT", "mask.erb_inv_fb");
    CHECK_FALSE(SpeechModel(golden_description(at::kCPU)).refused_enhancer());
    // What is not there at all is another matter.
    description.enhancer->file = "/nowhere/enhancer.safetensors";
    check_refused([&] { SpeechModel{description}; }, "ERR_MODEL_NOT_FOUND", "/nowhere/enhancer.safetensors");
  }

  TEST_CASE("quantises the matrices of the first stage, and of nothing else") {
    for (const at::Device& device : devices()) {
      engine::ModelDescription description = golden_description(device);
      const SpeechModel whole(description);
      description.quantization = core::Quantization::int8;
      const SpeechModel bytes(description);
      // 2 layers of 65,536 numbers, each of one byte instead of four, with scales for at most 960 rows.
      const size_t spared = whole.weight_bytes() - bytes.weight_bytes();
      CHECK(spared <= 3 * 2 * 65536);
      CHECK(spared >= 3 * 2 * 65536 - 2 * 960 * 4);
      description.first_stage.reset();
      const size_t others = SpeechModel(description).weight_bytes();
      description.quantization = core::Quantization::none;
      CHECK(others == SpeechModel(description).weight_bytes());
    }
  }

  TEST_CASE("loads the golden model in every dtype, and counts its bytes") {
    for (const at::Device& device : devices()) {
      const SpeechModel wide(golden_description(device)), narrow(golden_description(device, at::kBFloat16));
      CAPTURE(device.str());
      CHECK(wide.has_first_stage());
      CHECK(wide.has_second_stage());
      CHECK(wide.has_speaker_encoder());
      CHECK(wide.has_codec());
      CHECK(wide.has_enhancer());
      CHECK(wide.device().type() == device.type());
      CHECK(narrow.weight_bytes() < wide.weight_bytes());
      // 278,848 numbers in the first stage's file.
      CHECK(wide.weight_bytes() > 4 * 278848);
      CHECK(wide.first_stage().window() == 2048);
      CHECK(wide.second_stage().window() == 1024);
      CHECK(wide.second_stage().predicted() == 6);
      CHECK(wide.speaker_encoder().width() == 256);
    }
  }
}
