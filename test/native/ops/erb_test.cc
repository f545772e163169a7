#include "ops/erb.h"

#include <doctest.h>

#include <algorithm>
#include <numeric>

#include "support/compare.h"
#include "support/fixtures.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("ops/erb") {
  TEST_CASE("counts the bins of the published model's bands") {
    const std::vector<int64_t> published = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 5, 5, 7, 7, 8, 10, 12, 13, 15, 18, 20, 24, 28, 31, 37, 42, 50, 56, 67};
    CHECK(ops::erb_widths(48000, 960, 32, 2) == published);
  }

  TEST_CASE("bands cover every bin once, and have as many as they must") {
    for (const int64_t rate : {8000, 16000, 48000})
      for (const int64_t window : {120, 320, 960})
        for (const int64_t bands : {1, 8, 24})
          for (const int64_t least : {1, 2}) {
            const auto widths = ops::erb_widths(rate, window, bands, least);
            CHECK(std::accumulate(widths.begin(), widths.end(), int64_t{0}) == window / 2 + 1);
            CHECK(*std::min_element(widths.begin(), widths.end()) >= least);
          }
    check_refused([] { ops::erb_widths(48000, 960, 300, 2); }, "ERR_INTERNAL", "bins for every band");
  }

  TEST_CASE("running means keep three decimals of their decay, or as many as tell it from 1") {
    CHECK(ops::mean_decay(48000, 480, 1) == 0.99F);
    CHECK(ops::mean_decay(48000, 480, 0.1) == 0.905F);
    CHECK(ops::mean_decay(48000, 480, 100) == 0.9999F);
    check_refused([] { ops::mean_decay(48000, 480, 0); }, "ERR_INTERNAL", "a time that passes");
  }

  TEST_CASE("are libDF's features of the golden signal") {
    const at::Tensor spectra = golden("enhancer_whole", "spectrum"), levels = golden("enhancer_whole", "levels"), bins = golden("enhancer_whole", "bins");
    auto means = ops::RunningMeans::initial(32, 96);
    const auto widths = ops::erb_widths(48000, 960, 32, 2);
    at::Tensor found_levels = at::empty_like(levels), found_bins = at::empty_like(bins);
    for (int64_t i = 0; i < spectra.size(0); ++i) {
      const float* spectrum = spectra[i].const_data_ptr<float>();
      ops::erb_levels(spectrum, widths, 0.99F, means, found_levels[i].data_ptr<float>());
      ops::unit_norm(spectrum, 0.99F, means, found_bins[i].data_ptr<float>());
    }
    check_close(found_levels, levels, 2e-6, "levels");
    check_close(found_bins, bins, 2e-6, "bins");
  }

  TEST_CASE("a silence of minutes has a level and no bins, and is finite") {
    auto means = ops::RunningMeans::initial(2, 3);
    CHECK(means.level == std::vector<float>{-60.0F, -90.0F});
    CHECK(means.magnitude[1] == doctest::Approx(0.00055));
    const std::vector<float> spectrum(8, 0.0F);
    std::vector<float> levels(2), bins(6, 1.0F);
    for (int i = 0; i < 20000; ++i) {
      ops::erb_levels(spectrum.data(), {2, 2}, 0.99F, means, levels.data());
      ops::unit_norm(spectrum.data(), 0.99F, means, bins.data());
    }
    // The floor of the levels is 1e-10, -100 dB.
    CHECK(means.level[0] == doctest::Approx(-100));
    CHECK(std::abs(levels[1]) < 1e-4);
    CHECK(bins == std::vector<float>(6, 0.0F));
  }
}
