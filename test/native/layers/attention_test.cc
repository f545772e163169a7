#include "layers/attention.h"

#include <doctest.h>

#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

constexpr int64_t kWidth = 24;

Tensors some(int64_t heads, bool biases) {
  return random_transformer({.layers = 1, .heads = heads, .width = kWidth, .vocabularies = {3}, .biases = biases}, 11);
}

layers::Attention loaded(const Tensors& tensors, int64_t heads, at::Device device, at::ScalarType dtype = at::kFloat) {
  return layers::Attention::load(opened(tensors, {device, dtype}).scope("layers.0.attention"), heads, kWidth);
}

at::Tensor wanted(const Tensors& tensors, const at::Tensor& x, int64_t heads, bool causal) {
  std::vector<at::Tensor> rows;
  for (int64_t row = 0; row < x.size(0); ++row)
    rows.push_back(plain::attention(tensors, "layers.0.attention", x[row].to(at::kDouble), {.heads = heads, .causal = causal}));
  return at::stack(rows);
}

}  // namespace

TEST_SUITE("layers/attention") {
  TEST_CASE("refuses a projection that is not three times the width") {
    Tensors tensors = some(2, false);
    tensors["layers.0.attention.qkv.weight"] = at::ones({2 * kWidth, kWidth});
    check_refused([&] { loaded(tensors, 2, at::kCPU); }, "ERR_CHECKPOINT", "[72, 24] but found [48, 24]");
  }

  TEST_CASE("refuses several positions behind a cache that holds some already") {
    const layers::Attention attention = loaded(some(2, false), 2, at::kCPU);
    layers::KvCache cache(1, 1, 2, 8, kWidth / 2, at::kFloat);
    attention.forward(at::ones({1, 2, kWidth}), cache, 0);
    cache.advance(2);
    check_refused([&] { attention.forward(at::ones({1, 2, kWidth}), cache, 0); }, "ERR_INTERNAL", "the first thing in its cache");
  }

  TEST_CASE("is the plain formula: every position sees every other one") {
    for (const at::Device& device : devices()) {
      for (const int64_t heads : {1, 2, 6}) {
        for (const bool biases : {false, true}) {
          CAPTURE(device.str());
          const Tensors tensors = some(heads, biases);
          const at::Tensor x = Numbers(12).normal({2, 9, kWidth}, 1);
          check_close(loaded(tensors, heads, device).forward(x.to(device)), wanted(tensors, x, heads, false), kSameTolerance,
                      std::to_string(heads) + " heads");
        }
      }
    }
  }

  TEST_CASE("with a cache it is causal, whole and position by position alike") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      const Tensors tensors = some(3, true);
      const layers::Attention attention = loaded(tensors, 3, device);
      const at::Tensor x = Numbers(13).normal({2, 10, kWidth}, 1), formula = wanted(tensors, x, 3, true);
      for (const int64_t prompt : {1, 4, 10}) {
        layers::KvCache cache(1, 2, 3, 10, kWidth / 3, at::TensorOptions().device(device));
        std::vector<at::Tensor> pieces = {attention.forward(x.narrow(1, 0, prompt).to(device), cache, 0)};
        cache.advance(prompt);
        for (int64_t p = prompt; p < 10; ++p) {
          pieces.push_back(attention.forward(x.narrow(1, p, 1).to(device), cache, 0));
          cache.advance(1);
        }
        check_close(at::cat(pieces, 1), formula, kSameTolerance, "a prompt of " + std::to_string(prompt));
      }
    }
  }

  TEST_CASE("what lies past the position is never read") {
    const Tensors tensors = some(2, false);
    const layers::Attention attention = loaded(tensors, 2, at::kCPU);
    layers::KvCache cache(1, 1, 2, 64, kWidth / 2, at::kFloat);
    // Leave what is not a number where later positions will be.
    cache.append(0, at::full({1, 2, 64, kWidth / 2}, std::nan("")), at::full({1, 2, 64, kWidth / 2}, std::nan("")));
    const at::Tensor x = Numbers(14).normal({1, 3, kWidth}, 1);
    std::vector<at::Tensor> pieces = {attention.forward(x.narrow(1, 0, 2), cache, 0)};
    cache.advance(2);
    pieces.push_back(attention.forward(x.narrow(1, 2, 1), cache, 0));
    check_close(at::cat(pieces, 1), wanted(tensors, x, 2, true), kSameTolerance, "beside NaN");
  }
}
