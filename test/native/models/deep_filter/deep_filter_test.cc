#include "models/deep_filter/deep_filter.h"

#include <doctest.h>

#include <numeric>

#include "support/compare.h"
#include "support/fixtures.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::deep_filter::DeepFilter;
using models::deep_filter::DeepFilterConfig;

namespace {

DeepFilter golden_enhancer() { return {model_weights("enhancer", at::kCPU), DeepFilterConfig{}}; }

at::Tensor in_pieces(const DeepFilter& enhancer, const at::Tensor& samples, const std::vector<int64_t>& pieces, DeepFilter::State state) {
  std::vector<float> out;
  int64_t first = 0;
  for (const int64_t length : pieces) {
    const std::vector<float> before = out;
    enhancer.push(samples.const_data_ptr<float>() + first, length, state, out);
    first += length;
    // What was given stays, and there is as much as the delay allows.
    CHECK(std::equal(before.begin(), before.end(), out.begin()));
    CHECK(static_cast<int64_t>(out.size()) > first - enhancer.delay());
  }
  enhancer.finish(state, out);
  return at::tensor(out);
}

at::Tensor in_pieces(const DeepFilter& enhancer, const at::Tensor& samples, const std::vector<int64_t>& pieces) {
  return in_pieces(enhancer, samples, pieces, enhancer.begin());
}

at::Tensor whole(const DeepFilter& enhancer, const at::Tensor& samples) { return in_pieces(enhancer, samples, {samples.size(0)}); }

struct SmallEnhancer {
  EnhancerSizes sizes = small_enhancer_sizes();
  Tensors tensors = random_enhancer(sizes, 41);
  DeepFilter enhancer{opened(tensors), sizes.config};
};

}  // namespace

TEST_SUITE("models/deep_filter") {
  TEST_CASE("gives the golden network's gains and spectrum") {
    const auto found = golden_enhancer().enhance_spectrum(golden("enhancer", "spec"), golden("enhancer", "feat_erb"), golden("enhancer", "feat_spec"));
    check_close(found.gains, golden("enhancer", "mask"), kSpectrumTolerance, "gains");
    check_close(found.spectrum, golden("enhancer", "enhanced"), kSpectrumTolerance, "spectrum");
  }

  TEST_CASE("gives the golden signal: libDF's analysis, features and synthesis around the network") {
    const at::Tensor wanted = golden("enhancer_whole", "enhanced");
    check_wave(whole(golden_enhancer(), golden("enhancer_whole", "samples")), wanted, kWaveTolerance, "signal");
  }

  TEST_CASE("the spectrum is the plain formula's, at other sizes and look-aheads") {
    for (const int64_t look_ahead : {0, 1, 3}) {
      SmallEnhancer small;
      small.sizes.config.look_ahead = look_ahead;
      const DeepFilter enhancer(opened(small.tensors), small.sizes.config);
      for (const int64_t frames : {1, 2, 3, 11}) {
        const at::Tensor spectrum = Numbers(42).normal({frames, 61, 2}, 0.1), levels = Numbers(43).normal({frames, 8}, 1);
        const at::Tensor bins = Numbers(44).normal({frames, 20, 2}, 1);
        const at::Tensor wanted = plain::enhanced_spectrum(small.tensors, small.sizes, spectrum, levels, bins);
        check_close(enhancer.enhance_spectrum(spectrum, levels, bins).spectrum, wanted, kSameTolerance, std::to_string(frames) + " frames");
      }
    }
  }

  TEST_CASE("pieces of any length are the whole, bit for bit, and nothing given changes") {
    const SmallEnhancer small;
    const at::Tensor samples = Numbers(45).normal({1511}, 0.2), wanted = whole(small.enhancer, samples);
    CHECK(wanted.size(0) == 1511);
    CHECK(wanted.abs().max().item<float>() > 0.01);
    for (const int64_t length : {1, 59, 60, 61, 240, 1000}) {
      std::vector<int64_t> pieces(static_cast<size_t>(1511 / length), length);
      pieces.push_back(1511 % length);
      check_equal(in_pieces(small.enhancer, samples, pieces), wanted, "pieces of " + std::to_string(length));
    }
  }

  TEST_CASE("every length has as many samples out as in, from none on") {
    const SmallEnhancer small;
    for (const int64_t length : {0, 1, 59, 60, 61, 119, 120, 121, 300}) CHECK(whole(small.enhancer, Numbers(46).normal({length}, 0.1)).size(0) == length);
  }

  TEST_CASE("work space that holds no numbers does not matter") {
    const SmallEnhancer small;
    const at::Tensor samples = Numbers(47).normal({700}, 0.2);
    auto state = small.enhancer.begin();
    for (auto* each : {&state.spectrum, &state.levels, &state.bins, &state.gains, &state.filters, &state.enhanced, &state.samples})
      std::fill(each->begin(), each->end(), NAN);
    auto& network = state.network;
    for (auto* each : {&network.encoder.work, &network.encoder.c1, &network.encoder.sum, &network.gains.work, &network.gains.sum, &network.gains.up,
                       &network.filters.work, &network.filters.sum, &network.filters.skip, &network.filters.taps, &network.encoded.e0, &network.encoded.c0})
      each->assign(3000, NAN);
    check_equal(in_pieces(small.enhancer, samples, {700}, state), whole(small.enhancer, samples), "signal");
  }

  TEST_CASE("two signals at once do not meet") {
    const SmallEnhancer small;
    const at::Tensor a = Numbers(48).normal({600}, 0.2), b = Numbers(49).normal({600}, 0.2);
    auto first = small.enhancer.begin(), second = small.enhancer.begin();
    std::vector<float> of_first, of_second;
    for (int64_t i = 0; i < 600; i += 100) {
      small.enhancer.push(a.const_data_ptr<float>() + i, 100, first, of_first);
      small.enhancer.push(b.const_data_ptr<float>() + i, 100, second, of_second);
    }
    small.enhancer.finish(first, of_first);
    small.enhancer.finish(second, of_second);
    check_equal(at::tensor(of_first), whole(small.enhancer, a), "first");
    check_equal(at::tensor(of_second), whole(small.enhancer, b), "second");
  }

  TEST_CASE("what is too loud saturates") {
    SmallEnhancer small;
    // The last layer before the filters opens wide: the filters are far above one.
    small.tensors["df_dec.df_convp.3.bias"].fill_(40);
    const DeepFilter loud(opened(small.tensors), small.sizes.config);
    const at::Tensor found = whole(loud, Numbers(50).normal({900}, 0.5));
    CHECK(found.max().item<float>() == 1.0F);
    CHECK(found.min().item<float>() == -1.0F);
  }

  TEST_CASE("minutes of silence stay silent, and speech goes on behind them") {
    const SmallEnhancer small;
    auto state = small.enhancer.begin();
    std::vector<float> out;
    const std::vector<float> silence(60 * 12000, 0.0F);
    small.enhancer.push(silence.data(), static_cast<int64_t>(silence.size()), state, out);
    CHECK(*std::max_element(out.begin(), out.end()) == 0.0F);
    const at::Tensor speech = Numbers(51).normal({600}, 0.2);
    small.enhancer.push(speech.const_data_ptr<float>(), 600, state, out);
    small.enhancer.finish(state, out);
    CHECK(at::tensor(out).isfinite().all().item<bool>());
    CHECK(*std::max_element(out.end() - 500, out.end()) > 0.0F);
  }

  TEST_CASE("refuses bands that are counted otherwise, tensors that are not its own, and sizes that can't be") {
    const SmallEnhancer small;
    Tensors tensors = small.tensors;
    tensors["mask.erb_inv_fb"] = tensors["mask.erb_inv_fb"].roll(1, 1);
    check_refused([&] { DeepFilter{opened(tensors), small.sizes.config}; }, "ERR_CHECKPOINT", "as libDF does");
    tensors = small.tensors;
    tensors["enc.lsnr_fc.0.bias"] = at::ones({1});
    check_refused([&] { DeepFilter{opened(tensors), small.sizes.config}; }, "ERR_CHECKPOINT", "enc.lsnr_fc.0.bias");
    DeepFilterConfig config = small.sizes.config;
    config.look_ahead = 4;
    check_refused([&] { DeepFilter{opened(small.tensors), config}; }, "ERR_INTERNAL", "within the filters");
    check_refused([&] { small.enhancer.enhance_spectrum(at::ones({3, 61, 2}), at::ones({2, 8}), at::ones({3, 20, 2})); }, "ERR_INTERNAL", "frame by frame");
  }
}
