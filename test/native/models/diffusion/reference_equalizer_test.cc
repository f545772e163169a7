#include "models/diffusion/reference_equalizer.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::diffusion::ReferenceEqualizer;

TEST_SUITE("models/diffusion/reference_equalizer") {
  TEST_CASE("refuses a reference of another length, and levels that nobody measured") {
    const ReferenceEqualizer equalizer(8, 24000, at::kCPU);
    check_refused([&] { equalizer.equalize(at::ones({100}), at::ones({99})); }, "ERR_INTERNAL", "as long as the signal");
    check_refused([&] { equalizer.apply({}, at::ones({1000})); }, "ERR_INTERNAL", "levels that were measured");
  }

  TEST_CASE("gives the golden signal") {
    for (const at::Device& device : devices()) {
      const ReferenceEqualizer equalizer(32, 24000, device);
      const at::Tensor found = equalizer.equalize(golden("diffusion", "summed").to(device), golden("diffusion", "encodec").to(device));
      check_wave(found, golden("diffusion", "equalized"), 1e-4, "equalized on " + device.str());
    }
  }

  TEST_CASE("a signal that is its reference stays; one that is louder or duller becomes it") {
    const ReferenceEqualizer equalizer(8, 24000, at::kCPU);
    const at::Tensor reference = Numbers(21).normal({12000}, 0.1);
    check_wave(equalizer.equalize(reference, reference), reference, 1e-5, "same");
    check_wave(equalizer.equalize(reference * -3, reference), -reference, 1e-5, "louder");
    const ops::BandFilters filters = ops::mel_bands(8, 24000, at::kCPU);
    const at::Tensor bands = ops::split_bands(ops::extend_ends(Numbers(22).normal({12000}, 0.3), filters.half), filters);
    const at::Tensor tilted = at::matmul(at::arange(1, 9, at::kFloat), bands), found = equalizer.equalize(tilted, reference);
    const auto level = [&](const at::Tensor& samples) { return ops::split_bands(ops::extend_ends(samples, filters.half), filters).std(1); };
    check_close(level(found) / level(reference), at::ones({8}), 0.05, "levels");
  }

  TEST_CASE("what is silent stays silent, on either side") {
    const ReferenceEqualizer equalizer(8, 24000, at::kCPU);
    const at::Tensor noise = Numbers(23).normal({4000}, 0.1), silence = at::zeros({4000});
    check_equal(equalizer.equalize(silence, noise), silence, "silent signal");
    check_close(equalizer.equalize(noise, silence), silence, 1e-6, "silent reference");
    check_equal(equalizer.equalize(silence, silence), silence, "both");
    CHECK(equalizer.equalize(at::ones({1}), at::ones({1})).isfinite().all().item<bool>());
  }

  TEST_CASE("levels that were measured in pieces are those of the whole") {
    const ReferenceEqualizer equalizer(32, 24000, at::kCPU);
    const at::Tensor signal = ops::extend_ends(Numbers(24).normal({90000}, 0.2), equalizer.half());
    const at::Tensor reference = ops::extend_ends(Numbers(25).normal({90000}, 0.1), equalizer.half());
    ReferenceEqualizer::Levels whole, pieces;
    equalizer.measure(whole, signal, reference);
    int64_t first = 0;
    for (const int64_t length : {1, 6079, 83920}) {
      const int64_t extended = length + 2 * equalizer.half();
      equalizer.measure(pieces, signal.narrow(0, first, extended), reference.narrow(0, first, extended));
      first += length;
    }
    CHECK(pieces.samples == whole.samples);
    check_wave(equalizer.apply(pieces, signal), equalizer.apply(whole, signal), 1e-5, "pieces");
  }
}
