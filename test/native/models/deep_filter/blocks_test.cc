#include "models/deep_filter/blocks.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::models::deep_filter;

namespace {

constexpr int64_t kChannels = 8;

// One frame [channels, 1, bins] as the blocks have it.
Frame frame_of(const at::Tensor& x) {
  const at::Tensor flat = x.squeeze(1).t().contiguous();
  return {flat.const_data_ptr<float>(), flat.const_data_ptr<float>() + flat.numel()};
}

at::Tensor tensor_of(const Frame& frame, int64_t bins) { return at::tensor(frame).view({bins, -1}).t().unsqueeze(1); }

}  // namespace

TEST_SUITE("models/deep_filter/blocks") {
  TEST_CASE("separable convolutions are the plain formula, with any stride and transposed") {
    const Tensors tensors = random_enhancer({}, 1);
    const core::Weights weights = opened(tensors).scope("enc.erb_conv1");
    const at::Tensor x = Numbers(2).normal({kChannels, 1, 12}, 1);
    Frame work, to;
    for (const auto& [stride, transposed, bins] : {std::tuple<int64_t, bool, int64_t>{1, false, 12}, {2, false, 6}, {2, true, 24}}) {
      Separable::load(weights, kChannels, stride, transposed).forward(frame_of(x), work, to);
      const at::Tensor wanted = plain::separable(tensors, "enc.erb_conv1", x.to(at::kDouble), stride, transposed);
      check_close(tensor_of(to, bins), wanted, kSameTolerance, std::to_string(bins) + " bins");
    }
  }

  TEST_CASE("pathways add what is left of a scaled frame above zero") {
    const Tensors tensors = random_enhancer({}, 3);
    const at::Tensor x = Numbers(4).normal({kChannels, 1, 5}, 1), before = Numbers(5).normal({kChannels, 1, 5}, 1);
    Frame sum = frame_of(before);
    Pathway::load(opened(tensors).scope("erb_dec.conv2p"), kChannels).add(frame_of(x), sum);
    const at::Tensor scaled = x.to(at::kDouble) * plain::get(tensors, "erb_dec.conv2p.0.weight").view({-1, 1, 1});
    check_close(tensor_of(sum, 5), before + at::relu(plain::batch_norm(tensors, "erb_dec.conv2p.1", scaled)), kSameTolerance, "sum");
  }

  TEST_CASE("squeezed GRUs are the plain formula, with and without a layer behind") {
    const EnhancerSizes sizes = small_enhancer_sizes();
    const Tensors tensors = random_enhancer(sizes, 6);
    const int64_t width = sizes.config.sizes.bands / 4 * sizes.channels;
    const at::Tensor x = Numbers(7).normal({9, width}, 1);
    for (const std::string name : {"erb_dec.emb_gru", "df_dec.df_gru"}) {
      const auto squeezed = SqueezedGru::load(opened(tensors).scope(name), width);
      CHECK(squeezed.linear_out.has_value() == (name == "erb_dec.emb_gru"));
      auto state = squeezed.gru.begin();
      const at::Tensor wanted = plain::squeezed(tensors, name, x.to(at::kDouble));
      Frame work, to;
      for (int64_t time = 0; time < 9; ++time) {
        squeezed.step(frame_of(x[time].view({width, 1, 1})), state, work, to);
        check_close(at::tensor(to), wanted[time], kSameTolerance, name + " at " + std::to_string(time));
      }
    }
  }
}
