#include "ops/real_fft.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

at::Tensor forward(const ops::RealFft& fft, const at::Tensor& samples) {
  at::Tensor spectrum = at::empty({fft.bins(), 2});
  fft.forward(samples.const_data_ptr<float>(), spectrum.data_ptr<float>());
  return spectrum;
}

at::Tensor inverse(const ops::RealFft& fft, const at::Tensor& spectrum) {
  at::Tensor samples = at::empty({fft.size()});
  fft.inverse(spectrum.const_data_ptr<float>(), samples.data_ptr<float>());
  return samples;
}

}  // namespace

TEST_SUITE("ops/real_fft") {
  TEST_CASE("is the discrete Fourier transform, for lengths of all kinds") {
    for (const int64_t size : {2, 4, 6, 8, 10, 14, 16, 60, 96, 120, 320, 512, 770, 960, 1440, 2 * 121, 2 * 211}) {
      const ops::RealFft fft(size);
      const at::Tensor samples = Numbers(static_cast<uint64_t>(size)).normal({size}, 1);
      const at::Tensor wanted = at::view_as_real(at::fft_rfft(samples.to(at::kDouble)));
      check_close(forward(fft, samples), wanted, 1e-6 * static_cast<double>(size), std::to_string(size) + " samples");
      check_close(inverse(fft, wanted.to(at::kFloat)), samples * size, 3e-6 * static_cast<double>(size), std::to_string(size) + " back");
    }
  }

  TEST_CASE("the imaginary parts at both ends mean nothing to the inverse") {
    const ops::RealFft fft(12);
    at::Tensor spectrum = forward(fft, Numbers(1).normal({12}, 1));
    const at::Tensor wanted = inverse(fft, spectrum);
    spectrum[0][1] = 1e9;
    spectrum[6][1] = -1e9;
    check_equal(inverse(fft, spectrum), wanted, "samples");
  }

  TEST_CASE("refuses odd lengths") {
    for (const int64_t size : {-2, 0, 1, 9}) check_refused([=] { ops::RealFft{size}; }, "ERR_INTERNAL", "an even length");
  }
}
