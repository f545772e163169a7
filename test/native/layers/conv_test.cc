#include "layers/conv.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;
using layers::CausalConv;
using layers::CausalTransposedConv;

namespace {

struct Case {
  CausalConv conv;
  Tensors tensors;

  Case(int64_t out, int64_t in, int64_t kernel, int64_t stride, at::Device device = at::kCPU) {
    Numbers numbers(static_cast<uint64_t>(out + 10 * in + 100 * kernel));
    tensors = {{"c.weight", numbers.normal({out, in, kernel}, 0.5)}, {"c.bias", numbers.normal({out}, 1)}};
    conv = CausalConv::load(opened(tensors, {device, at::kHalf}).scope("c"), out, in, stride);
  }
  at::Tensor wanted(const at::Tensor& x) const { return plain::causal_conv(x, tensors.at("c.weight"), tensors.at("c.bias"), conv.stride); }
};

}  // namespace

TEST_SUITE("layers/conv") {
  TEST_CASE("refuses channels and gains that do not fit") {
    const Tensors tensors = {{"c.weight_v", at::ones({2, 3, 5})}, {"c.weight_g", at::ones({3, 1, 1})}, {"c.bias", at::ones({2})}};
    check_refused([&] { CausalConv::load(opened(tensors).scope("c"), 2, 3); }, "ERR_CHECKPOINT", "c.weight_g");
    check_refused([&] { CausalConv::load(opened(tensors).scope("c"), 2, 4); }, "ERR_CHECKPOINT", "c.weight_v");
    check_refused([&] { CausalTransposedConv::load(opened({{"c.weight", at::ones({2, 3, 5})}, {"c.bias", at::ones({2})}}).scope("c"), 2, 3, 5, 2); },
                  "ERR_CHECKPOINT", "c.bias");
  }

  TEST_CASE("refuses to run a stride in pieces") {
    const Case some(2, 3, 4, 2);
    at::Tensor past;
    check_refused([&] { some.conv.step(at::ones({1, 3, 8}), past); }, "ERR_INTERNAL", "stride 1");
  }

  TEST_CASE("folds the weight norm over all axes but the first") {
    Numbers numbers(41);
    const at::Tensor gain = numbers.normal({4, 1, 1}, 1), direction = numbers.normal({4, 3, 5}, 2);
    const at::Tensor found = layers::weight_normed(opened({{"weight_g", gain}, {"weight_v", direction}}), {4, 3, 5});
    check_close(found, plain::weight_normed(gain, direction), 1e-6, "weight norm");
  }

  TEST_CASE("a whole signal is the plain formula: reflected left, the last stride completed") {
    for (const at::Device& device : devices()) {
      for (const auto& [kernel, stride] : {std::pair<int64_t, int64_t>{7, 1}, {3, 1}, {1, 1}, {4, 2}, {8, 4}, {10, 5}, {16, 8}}) {
        const Case some(3, 2, kernel, stride, device);
        for (const int64_t length : {17, 24, 40}) {
          CAPTURE(device.str());
          const at::Tensor x = Numbers(42).normal({2, length}, 1);
          check_close(some.conv.forward(x.unsqueeze(0).to(device)).squeeze(0), some.wanted(x), kSameTolerance,
                      "kernel " + std::to_string(kernel) + ", stride " + std::to_string(stride) + ", length " + std::to_string(length));
        }
      }
    }
  }

  TEST_CASE("a signal shorter than its padding is lengthened with zeros before it is reflected") {
    for (const auto& [kernel, stride] : {std::pair<int64_t, int64_t>{7, 1}, {3, 1}, {4, 2}, {10, 5}, {16, 8}}) {
      const Case some(3, 2, kernel, stride);
      for (int64_t length = 1; length <= kernel; ++length) {
        const at::Tensor x = Numbers(43).normal({2, length}, 1);
        check_close(some.conv.forward(x.unsqueeze(0)).squeeze(0), some.wanted(x), kSameTolerance,
                    "kernel " + std::to_string(kernel) + ", stride " + std::to_string(stride) + ", length " + std::to_string(length));
        if (stride > 1) continue;
        at::Tensor past;
        check_close(some.conv.step(x.unsqueeze(0), past).squeeze(0), some.wanted(x), kSameTolerance, "the same as a first piece");
      }
    }
  }

  TEST_CASE("pieces equal the whole at any cut whose first piece is longer than the reflection") {
    for (const int64_t kernel : {7, 3, 1}) {
      const Case some(3, 2, kernel, 1);
      const at::Tensor x = Numbers(44).normal({1, 2, 30}, 1), whole = some.conv.forward(x);
      for (int64_t first = kernel; first < 30; ++first) {
        for (const int64_t step : {1, 2, 5}) {
          at::Tensor past;
          std::vector<at::Tensor> pieces = {some.conv.step(x.narrow(2, 0, first), past)};
          for (int64_t at = first; at < 30; at += step) pieces.push_back(some.conv.step(x.narrow(2, at, std::min(step, 30 - at)), past));
          const at::Tensor found = at::cat(pieces, 2);
          REQUIRE(found.sizes() == whole.sizes());
          REQUIRE(difference(found, whole).worst < 1e-5);
        }
      }
    }
  }

  TEST_CASE("the state of a piece is its own: the next piece does not change the one before") {
    const Case some(3, 2, 7, 1);
    at::Tensor past;
    at::Tensor x = Numbers(45).normal({1, 2, 12}, 1);
    some.conv.step(x, past);
    const at::Tensor kept = past.clone();
    x.zero_();
    check_equal(past, kept, "state");
  }

  TEST_CASE("a transposed convolution is the plain formula, cut at the right, whole and in pieces") {
    for (const at::Device& device : devices()) {
      for (const int64_t stride : {2, 4, 5, 8}) {
        CAPTURE(device.str());
        Numbers numbers(46);
        const Tensors tensors = {{"c.weight", numbers.normal({3, 2, 2 * stride}, 0.5)}, {"c.bias", numbers.normal({2}, 1)}};
        const auto conv = CausalTransposedConv::load(opened(tensors, {device, at::kFloat}).scope("c"), 3, core::Weights::any, 2 * stride, stride);
        const at::Tensor x = numbers.normal({1, 3, 9}, 1);
        const at::Tensor wanted = plain::causal_transposed(x[0], tensors.at("c.weight"), tensors.at("c.bias"), stride);
        for (const std::vector<int64_t>& cut : {std::vector<int64_t>{9}, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {4, 5}, {1, 6, 2}}) {
          at::Tensor tail;
          std::vector<at::Tensor> pieces;
          int64_t first = 0;
          for (const int64_t length : cut) {
            pieces.push_back(conv.step(x.narrow(2, first, length).to(device), tail));
            first += length;
          }
          check_close(at::cat(pieces, 2).squeeze(0), wanted, kSameTolerance, "stride " + std::to_string(stride));
        }
      }
    }
  }
}
