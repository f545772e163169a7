#include "ops/stft.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

// Hop by hop: [hops, bins, 2].
at::Tensor analyzed(const ops::Stft& stft, const at::Tensor& samples) {
  at::Tensor spectra = at::empty({samples.size(0) / stft.hop(), stft.bins(), 2});
  ops::StftTail tail = stft.silence();
  for (int64_t i = 0; i < spectra.size(0); ++i)
    stft.analyze(samples.const_data_ptr<float>() + i * stft.hop(), tail, spectra[i].data_ptr<float>());
  return spectra;
}

}  // namespace

TEST_SUITE("ops/stft") {
  TEST_CASE("is libDF's analysis of the golden signal") {
    const at::Tensor spectra = golden("enhancer_whole", "spectrum"), samples = golden("enhancer_whole", "samples");
    const at::Tensor found = analyzed(ops::Stft(960), samples.narrow(0, 0, spectra.size(0) * 480).contiguous());
    check_close(found, spectra, 1e-7, "spectrum, whose largest number is about 0.01");
  }

  TEST_CASE("has the window's values of the specification, through a unit pulse") {
    const ops::Stft stft(960);
    for (const auto& [place, value] : {std::pair<int64_t, double>{0, 4.2055e-6}, {239, 0.7052870}, {240, 0.7089219}, {479, 1}}) {
      at::Tensor samples = at::zeros({960});
      samples[place] = 1;
      // The pulse lies in the first half of the second frame's window.
      check_close(analyzed(stft, samples)[1][0].narrow(0, 0, 1) * 960, at::tensor(value), 1e-6, "at " + std::to_string(place));
    }
  }

  TEST_CASE("analysis and synthesis delay by a hop and change nothing") {
    for (const int64_t window : {16, 60, 960}) {
      const ops::Stft stft(window);
      const int64_t hops = 12, hop = stft.hop();
      const at::Tensor samples = Numbers(3).normal({hops * hop}, 0.3), spectra = analyzed(stft, samples);
      at::Tensor back = at::empty({hops * hop});
      ops::StftTail tail = stft.silence();
      for (int64_t i = 0; i < hops; ++i) stft.synthesize(spectra[i].const_data_ptr<float>(), tail, back.data_ptr<float>() + i * hop);
      check_close(back.narrow(0, 0, hop), at::zeros({hop}), 1e-6, "the first hop");
      check_close(back.narrow(0, hop, (hops - 1) * hop), samples.narrow(0, 0, (hops - 1) * hop), 1e-6, std::to_string(window));
    }
  }
}
