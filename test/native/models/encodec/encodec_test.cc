#include "models/encodec/encodec.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::models::encodec;

TEST_SUITE("models/encodec") {
  TEST_CASE("refuses to encode without an encoder, but decodes") {
    const Encodec codec(opened(random_codec({.encoder = false}, 1)), {24000, {4, 3}, 4});
    CHECK_FALSE(codec.encodes());
    check_refused([&] { codec.encode(at::ones({100})); }, "ERR_UNSUPPORTED", "it can decode codes, not make them");
    DecoderState state;
    CHECK(codec.decode(at::zeros({4, 9}, at::kLong), state).size(0) == 108);
  }

  TEST_CASE("refuses tensors that are not its own") {
    Tensors tensors = random_codec({}, 1);
    tensors["decoder.99.bias"] = at::ones({1});
    check_refused([&] { Encodec(opened(tensors), {24000, {4, 3}, 4}); }, "ERR_CHECKPOINT", "decoder.99.bias");
  }

  TEST_CASE("reads its sizes from the file") {
    const Encodec codec = golden_codec(at::kCPU);
    CHECK(codec.sample_rate() == 24000);
    CHECK(codec.hop() == 320);
    CHECK(codec.codebooks() == 8);
    CHECK(codec.codebook_size() == 1024);
    CHECK(codec.encodes());
  }

  TEST_CASE("gives the golden codes of the golden wave, and the golden waves of both sets of codes") {
    for (const at::Device& device : devices()) {
      const Encodec codec = golden_codec(device);
      check_equal(codec.encode(golden("codec", "wav")).cpu(), golden("codec", "codes").to(at::kLong), "codes on " + device.str());
      for (const auto& [codes, wave] : {std::pair{"codes", "decoded"}, {"random_codes", "random_decoded"}}) {
        DecoderState state;
        check_wave(codec.decode(golden("codec", codes).to(at::kLong), state).cpu(), golden("codec", wave), kWaveTolerance, std::string(wave) + " on " + device.str());
      }
    }
  }

  TEST_CASE("encodes signals of every length to one code a hop, rounded up") {
    const Encodec codec = golden_codec(at::kCPU);
    for (const int64_t samples : {1, 7, 319, 320, 321, 3000}) CHECK(codec.encode(golden("codec", "wav").narrow(0, 0, samples)).sizes() == at::IntArrayRef({8, (samples + 319) / 320}));
  }
}
