#include "layers/frame_conv.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/plain_enhancer.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

// x [channels, time, bins], frame by frame.
template <class Step>
at::Tensor framewise(const at::Tensor& x, int64_t bins, int64_t channels, Step step) {
  at::Tensor out = at::full({x.size(1), bins, channels}, NAN);
  const at::Tensor frames = x.permute({1, 2, 0}).contiguous();
  for (int64_t time = 0; time < x.size(1); ++time) step(frames[time].const_data_ptr<float>(), out[time].data_ptr<float>());
  return out.permute({2, 0, 1});
}

}  // namespace

TEST_SUITE("layers/frame_conv") {
  TEST_CASE("ordinary and grouped convolutions are the plain formula, causal in time") {
    for (const auto& [in, out, groups, times, width] :
         {std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t>{1, 8, 1, 3, 3}, {2, 8, 2, 3, 3}, {6, 10, 2, 5, 1}, {8, 1, 1, 1, 3}, {4, 9, 1, 2, 5}}) {
      const Tensors tensors = {{"conv.weight", Numbers(1).normal({out, in / groups, times, width}, 0.5)}};
      const auto conv = layers::FrameConv::load(opened(tensors), "conv.weight", in);
      CHECK(conv.out() == out);
      const at::Tensor x = Numbers(2).normal({in, 9, 7}, 1);
      auto memory = conv.begin(7);
      const at::Tensor found = framewise(x, 7, out, [&](const float* from, float* to) { conv.step(from, memory, to); });
      check_close(found, plain::frame_conv(tensors, "conv", x.to(at::kDouble)), kSameTolerance, std::to_string(in) + " to " + std::to_string(out));
    }
  }

  TEST_CASE("the normalisation behind it goes into it") {
    const Tensors tensors = random_enhancer({}, 3);
    const core::Weights weights = opened(tensors);
    const auto norm = layers::BatchNorm::load(weights.scope("enc.erb_conv0.2"), 8);
    const auto conv = layers::FrameConv::load(weights, "enc.erb_conv0.1.weight", 1, &norm);
    const at::Tensor x = Numbers(4).normal({1, 6, 12}, 1);
    auto memory = conv.begin(12);
    const at::Tensor found = framewise(x, 12, 8, [&](const float* from, float* to) { conv.step(from, memory, to); });
    const at::Tensor wanted = plain::batch_norm(tensors, "enc.erb_conv0.2", plain::frame_conv(tensors, "enc.erb_conv0.1", x.to(at::kDouble)));
    check_close(found, wanted, kSameTolerance, "normalised");
    check_refused([&] { layers::FrameConv::load(opened({{"w", at::ones({4, 1, 3, 3})}}), "w", 1, &norm); }, "ERR_CHECKPOINT", "[8, any, any, any] but found [4, 1, 3, 3]");
    check_refused([&] { layers::FrameConv::load(opened({{"w", at::ones({8, 2, 3, 3})}}), "w", 5); }, "ERR_CHECKPOINT", "to divide 5 but found 2");
  }

  TEST_CASE("depthwise ones leave bins out, or put some between") {
    for (const int64_t bins : {1, 2, 7, 8})
      for (const int64_t stride : {1, 2, 3}) {
        const Tensors tensors = {{"conv.weight", Numbers(5).normal({6, 1, 1, 3}, 1)}};
        const auto conv = layers::DepthwiseConv::load(opened(tensors), "conv.weight", 6, stride);
        const at::Tensor x = Numbers(6).normal({6, 2, bins}, 1);
        const at::Tensor found = framewise(x, conv.bins_out(bins), 6, [&](const float* from, float* to) { conv.forward(from, bins, to); });
        check_close(found, plain::frame_conv(tensors, "conv", x.to(at::kDouble), stride), kSameTolerance, std::to_string(bins) + " bins");
        const auto up = layers::DepthwiseConv::load(opened(tensors), "conv.weight", 6, 2, /*transposed=*/true);
        const at::Tensor twice = framewise(x, 2 * bins, 6, [&](const float* from, float* to) { up.forward(from, bins, to); });
        check_close(twice, plain::transposed_frame_conv(tensors, "conv", x.to(at::kDouble)), kSameTolerance, std::to_string(bins) + " bins, twice as many");
      }
    check_refused([] { layers::DepthwiseConv::load(opened({{"w", at::ones({6, 1, 1, 5})}}), "w", 6, 1); }, "ERR_CHECKPOINT", "[6, 1, 1, 3]");
  }
}
