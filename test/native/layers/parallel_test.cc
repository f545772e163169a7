#include "layers/parallel.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"

using namespace metavoice;
using namespace metavoice::testing;
using namespace metavoice::layers;

namespace {

ParallelWeights networks(int64_t count, at::Device device = at::kCPU) {
  Numbers numbers(41);
  Tensors tensors;
  for (int64_t i = 0; i < count; ++i) {
    tensors["n." + std::to_string(i) + ".weight"] = 1 + numbers.normal({6}, 0.3);
    tensors["n." + std::to_string(i) + ".bias"] = numbers.normal({6}, 0.3);
    tensors["n." + std::to_string(i) + ".kernel"] = numbers.normal({4, 6, 3}, 0.3);
    tensors["n." + std::to_string(i) + ".shift"] = numbers.normal({4}, 0.3);
  }
  const core::Weights weights = opened(tensors, {device, at::kFloat});
  ParallelWeights scopes;
  for (int64_t i = 0; i < count; ++i) scopes.push_back(weights.scope("n." + std::to_string(i)));
  return scopes;
}

ParallelConv conv_of(const ParallelWeights& weights, at::ScalarType dtype = at::kFloat) {
  ParallelConv conv;
  conv.networks = static_cast<int64_t>(weights.size());
  conv.weight = joined(weights, "kernel", {4, 6, 3}, dtype);
  conv.bias = joined(weights, "shift", {4}, dtype);
  conv.padding = conv.dilation = 2;
  return conv;
}

}  // namespace

TEST_SUITE("layers/parallel") {
  TEST_CASE("refuses a tensor of another shape, of whichever network") {
    const ParallelWeights weights = networks(2);
    check_refused([&] { joined(weights, "kernel", {4, 5, 3}, at::kFloat); }, "ERR_CHECKPOINT", "n.0.kernel");
    check_refused([&] { ParallelGroupNorm::load(weights, 5, 1); }, "ERR_CHECKPOINT", "n.0.weight");
  }

  TEST_CASE("of one network tensors are the file itself, of several they follow each other") {
    const ParallelWeights weights = networks(3);
    CHECK(joined({weights[1]}, "kernel", {4, 6, 3}, at::kFloat).const_data_ptr() == weights[1].tensor("kernel", {4, 6, 3}).const_data_ptr());
    const at::Tensor all = joined(weights, "kernel", {4, 6, 3}, at::kFloat), wide = joined(weights, "kernel", {4, 6, 3}, at::kFloat, 2);
    CHECK(all.sizes() == at::IntArrayRef({12, 6, 3}));
    CHECK(wide.sizes() == at::IntArrayRef({4, 6, 9}));
    check_equal(all.narrow(0, 8, 4), weights[2].tensor("kernel", {4, 6, 3}), "third");
  }

  TEST_CASE("side by side each network computes as it does alone") {
    for (const at::Device& device : devices()) {
      const ParallelWeights weights = networks(3, device);
      const at::Tensor x = Numbers(42).normal({1, 18, 50}, 1).to(device);
      const at::Tensor convolved = conv_of(weights).forward(x, at::kFloat), normed = ParallelGroupNorm::load(weights, 6, 2).forward(x);
      ParallelConv transposed;
      transposed.networks = 3;
      transposed.weight = joined(weights, "kernel", {4, 6, 3}, at::kFloat);
      const at::Tensor spread = transposed.transposed(x.narrow(1, 0, 12), at::kFloat);
      for (int64_t i = 0; i < 3; ++i) {
        const ParallelWeights alone = {weights[static_cast<size_t>(i)]};
        const at::Tensor own = x.narrow(1, 6 * i, 6);
        check_close(convolved.narrow(1, 4 * i, 4), conv_of(alone).forward(own, at::kFloat), kSameTolerance, "convolution on " + device.str());
        check_close(normed.narrow(1, 6 * i, 6), ParallelGroupNorm::load(alone, 6, 2).forward(own), kSameTolerance, "norm on " + device.str());
        const at::Tensor wanted = at::conv_transpose1d(x.narrow(1, 4 * i, 4), alone[0].tensor("kernel", {4, 6, 3}));
        check_close(spread.narrow(1, 6 * i, 6), wanted, kSameTolerance, "transposed on " + device.str());
      }
    }
  }

  TEST_CASE("16-bit matrices are upcast where it is wanted, and results are float32") {
    const ParallelWeights weights = networks(2);
    const ParallelConv half = conv_of(weights, at::kHalf), exact = conv_of(weights);
    const at::Tensor x = Numbers(43).normal({1, 12, 20}, 1), wanted = exact.forward(x, at::kFloat);
    CHECK((half.forward(x, at::kHalf).scalar_type() == at::kFloat));
    check_close(half.forward(x, at::kHalf), wanted, 2e-2, "in float16");
    check_close(half.forward(x, at::kFloat), wanted, 5e-3, "upcast");
  }
}
