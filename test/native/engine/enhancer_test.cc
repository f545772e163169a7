#include "engine/enhancer.h"

#include <doctest.h>

#include <memory>

#include "support/compare.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::Enhancer;
using models::deep_filter::DeepFilter;

namespace {

at::Tensor in_pieces(Enhancer enhancer, const at::Tensor& samples, int64_t length) {
  std::vector<at::Tensor> pieces;
  for (int64_t first = 0; first < samples.size(0); first += length)
    pieces.push_back(enhancer.push(samples.narrow(0, first, std::min(length, samples.size(0) - first)).contiguous()));
  pieces.push_back(enhancer.finish());
  return at::cat(pieces);
}

}  // namespace

TEST_SUITE("engine/enhancer") {
  TEST_CASE("takes any rate, and gives as many seconds in pieces that are the whole") {
    const EnhancerSizes sizes = small_enhancer_sizes();  // 8 kHz
    const DeepFilter network(opened(random_enhancer(sizes, 61)), sizes.config);
    const at::Tensor samples = Numbers(62).normal({901}, 0.2);
    for (const int64_t rate : {4000, 8000, 11025}) {
      const Enhancer enhancer(network, rate);
      CHECK(enhancer.sample_rate() == 8000);
      const at::Tensor whole = in_pieces(enhancer, samples, 901);
      CHECK(whole.size(0) == (901 * 8000 + rate - 1) / rate);
      for (const int64_t length : {1, 60, 333}) check_equal(in_pieces(enhancer, samples, length), whole, "pieces of " + std::to_string(length));
    }
  }

  TEST_CASE("once it is stopped it goes on for no more than a second of the signal") {
    const EnhancerSizes sizes = small_enhancer_sizes();
    const DeepFilter network(opened(random_enhancer(sizes, 65)), sizes.config);
    const at::Tensor samples = Numbers(66).normal({10 * 8000}, 0.2);
    int asked = 0;
    Enhancer enhancer(network, 8000, [&] { return ++asked > 3; });
    check_refused([&] { enhancer.push(samples); }, "ABORT_ERR", "cancelled");
    CHECK(asked == 4);
    CHECK(Enhancer(network, 8000, [] { return false; }).push(samples).size(0) > 9 * 8000);
  }

  TEST_CASE("at the network's own rate it is the network") {
    const EnhancerSizes sizes = small_enhancer_sizes();
    const DeepFilter network(opened(random_enhancer(sizes, 63)), sizes.config);
    const at::Tensor samples = Numbers(64).normal({500}, 0.2);
    auto state = network.begin();
    std::vector<float> out;
    network.push(samples.const_data_ptr<float>(), 500, state, out);
    network.finish(state, out);
    check_equal(in_pieces(Enhancer(network, 8000), samples, 500), at::tensor(out), "signal");
    check_refused([&] { Enhancer(network, 8000).push(at::ones({4}, at::kDouble)); }, "ERR_INTERNAL", "samples on the host");
  }
}
