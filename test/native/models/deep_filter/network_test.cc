#include "models/deep_filter/network.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;
namespace deep_filter = metavoice::models::deep_filter;
using deep_filter::Network;

namespace {

// The published proportions, smaller; then others.
std::vector<EnhancerSizes> all_sizes() {
  EnhancerSizes published;
  published.channels = 12;
  published.hidden = 32;
  published.groups = 16;
  published.deep_groups = 8;
  EnhancerSizes small = small_enhancer_sizes(), other = small;
  small.gains_layers = 1;
  small.path_times = 1;
  other.channels = 6;
  other.hidden = 12;
  other.groups = 2;
  other.filters_layers = 3;
  return {published, small, other};
}

plain::EnhancerOutput framewise(const Network& network, const deep_filter::NetworkSizes& sizes, const at::Tensor& levels, const at::Tensor& bins) {
  plain::EnhancerOutput result{at::full({levels.size(0), sizes.bands}, NAN), at::full({levels.size(0), sizes.deep_bins, 2 * sizes.order}, NAN)};
  auto state = network.begin();
  for (int64_t i = 0; i < levels.size(0); ++i)
    network.step(levels[i].const_data_ptr<float>(), bins[i].const_data_ptr<float>(), state, result.gains[i].data_ptr<float>(), result.filters[i].data_ptr<float>());
  return result;
}

}  // namespace

TEST_SUITE("models/deep_filter/network") {
  TEST_CASE("frame by frame it is the plain formula of the whole, at any size") {
    for (const EnhancerSizes& sizes : all_sizes()) {
      const deep_filter::NetworkSizes& network = sizes.config.sizes;
      const Tensors tensors = random_enhancer(sizes, 21);
      const at::Tensor levels = Numbers(22).normal({13, network.bands}, 1), bins = Numbers(23).normal({13, network.deep_bins, 2}, 1);
      const auto found = framewise(Network(opened(tensors), network), network, levels, bins);
      const auto wanted = plain::enhancer_network(tensors, levels, bins);
      check_close(found.gains, wanted.gains, kSameTolerance, "gains, " + std::to_string(sizes.channels) + " channels");
      check_close(found.filters, wanted.filters, 2 * kSameTolerance, "filters, " + std::to_string(sizes.channels) + " channels");
    }
  }

  TEST_CASE("refuses weights of another width, by name") {
    const EnhancerSizes sizes = small_enhancer_sizes();
    Tensors tensors = random_enhancer(sizes, 24);
    const auto opens = [&](const deep_filter::NetworkSizes& asked) { return [&, asked] { Network{opened(tensors), asked}; }; };
    deep_filter::NetworkSizes more = sizes.config.sizes;
    more.bands = 12;
    check_refused(opens(more), "ERR_CHECKPOINT", "df_fc_emb.0.weight");
    more = sizes.config.sizes;
    more.order = 5;
    check_refused(opens(more), "ERR_CHECKPOINT", "df_convp");
    tensors.erase("erb_dec.convt2.0.weight");
    check_refused(opens(sizes.config.sizes), "ERR_CHECKPOINT", "erb_dec.convt2.0.weight");
  }
}
