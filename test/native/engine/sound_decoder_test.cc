#include "engine/sound_decoder.h"

#include <doctest.h>

#include "engine/stages.h"
#include "support/compare.h"
#include "support/diffusion.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::DiffusionRequest;
using engine::SoundDecoder;

namespace {

std::shared_ptr<const engine::SpeechModel> golden_model() {
  engine::ModelDescription description = golden_description(at::kCPU);
  description.diffusion = {model_file("diffusion"), golden_diffusion_config()};
  return std::make_shared<const engine::SpeechModel>(description);
}

DiffusionRequest request() { return {{9, 0, 0}, 2, {10, 20}, {}}; }

}  // namespace

TEST_SUITE("engine/sound_decoder") {
  TEST_CASE("without diffusion it is the codec's own decoder, in pieces, and needs nothing behind a chunk") {
    const auto model = golden_model();
    const at::Tensor codes = golden("codec", "random_codes").to(at::kLong).narrow(1, 0, 40);
    SoundDecoder decoder(*model, std::nullopt, false);
    CHECK(decoder.context() == 0);
    const at::Tensor first = decoder.speak(codes.narrow(1, 0, 19), 19, false), second = decoder.speak(codes.narrow(1, 19, 21), 40, true);
    check_equal(at::cat({first, second}), engine::decode(*model, codes, {19, 21}), "pieces");
    CHECK(decoder.redone() == 0);
  }

  TEST_CASE("with it, windows or the whole") {
    const auto model = golden_model();
    const at::Tensor codes = golden("diffusion", "codes").to(at::kLong);
    SoundDecoder windows(*model, request(), false);
    CHECK(windows.context() == 15);
    const at::Tensor first = windows.speak(codes.narrow(1, 0, 25), 10, false), rest = windows.speak(codes.narrow(1, 25, 6), 31, true);
    CHECK(first.size(0) == 10 * 320);
    check_equal(at::cat({first, rest}), engine::diffuse(*model, codes, 9, {}, 2, {10, 20}), "windows");
    SoundDecoder whole(*model, request(), true);
    CHECK(whole.context() == 0);
    check_equal(whole.speak(codes, 31, true), engine::diffuse(*model, codes, 9, {}, 2, {}), "whole");
    check_refused([&] { windows.speak(codes, 31, true); }, "ERR_INTERNAL", "an utterance that goes on");
  }
}
