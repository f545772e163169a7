#include "models/diffusion/noise.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::models::diffusion;

namespace {

const core::RandomKey kKey{99, 0, 0};

}  // namespace

TEST_SUITE("models/diffusion/noise") {
  TEST_CASE("given noise is what was given, by band and draw") {
    const at::Tensor numbers = Numbers(3).normal({4, 3, 10}, 1).to(at::kHalf);
    const Noise noise = given_noise(numbers);
    check_equal(noise(1, 2, 2), numbers.narrow(0, 1, 2).select(1, 2).to(at::kFloat), "two bands");
    CHECK((noise(0, 4, 0).scalar_type() == at::kFloat));
    check_refused([&] { noise(0, 4, 3); }, "ERR_INTERNAL", "noise for every step");
  }

  TEST_CASE("drawn noise has an address: windows that overlap draw the same numbers") {
    for (const at::Device& device : devices()) {
      const Noise whole = drawn_noise(kKey, 20, 0, 5000, device), window = drawn_noise(kKey, 20, 1237, 800, device);
      for (const int64_t draw : {0, 1, 19}) {
        const at::Tensor wanted = whole(0, 4, draw);
        CHECK(wanted.sizes() == at::IntArrayRef({4, 5000}));
        check_equal(window(0, 4, draw), wanted.narrow(1, 1237, 800), "window");
        for (int64_t band = 0; band < 4; ++band) check_equal(window(band, 1, draw)[0], wanted[band].narrow(0, 1237, 800), "one band");
      }
      CHECK(difference(whole(0, 1, 0), whole(1, 1, 0)).worst > 0.1);
      CHECK(difference(whole(0, 1, 0), whole(0, 1, 1)).worst > 0.1);
      // More numbers than are kept at a time.
      const Noise large = drawn_noise(kKey, 3, 0, 3000000, device);
      check_equal(large(2, 1, 2).narrow(1, 0, 100), drawn_noise(kKey, 3, 0, 100, device)(2, 1, 2), "draw 2 of many");
    }
    check_refused([] { drawn_noise(kKey, 3, 0, 8, at::kCPU)(0, 1, 3); }, "ERR_INTERNAL", "a draw of the sampler");
  }
}
