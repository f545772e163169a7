#include "layers/transformer_block.h"

#include <doctest.h>

#include "layers/kv_pool.h"
#include "support/compare.h"
#include "support/networks.h"
#include "support/plain.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("layers/transformer_block") {
  TEST_CASE("adds attention, then the feed forward, each of the normed residual, which stays float32") {
    for (const at::Device& device : devices()) {
      for (const bool rms : {true, false}) {
        CAPTURE(device.str());
        CAPTURE(rms);
        const Tensors tensors = random_transformer({.layers = 1, .vocabularies = {3}, .swiglu = rms, .biases = true, .norm_biases = !rms}, 21);
        const plain::Shape shape{.rms = rms, .swiglu = rms, .causal = true};
        const at::Tensor start = Numbers(22).normal({8, 16}, 2);
        at::Tensor x = start.to(at::kDouble);
        x = x + plain::attention(tensors, "layers.0.attention", plain::norm(tensors, "layers.0.attention_norm", x, shape), shape);
        x = x + plain::feed_forward(tensors, "layers.0.feed_forward", plain::norm(tensors, "layers.0.feed_forward_norm", x, shape), shape);
        for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, kSameTolerance}, {at::kHalf, 2e-2}, {at::kBFloat16, 1e-1}}) {
          const layers::BlockShape sizes{2, 16, rms ? layers::NormKind::rms : layers::NormKind::layer, 1e-5,
                                         rms ? layers::Activation::swiglu : layers::Activation::gelu};
          const auto network = layers::TransformerBlock::load(opened(tensors, {device, dtype}).scope("layers.0"), sizes);
          at::Tensor residual = start.to(device).unsqueeze(0).clone();
          layers::KvCache cache(1, 1, 2, 8, 8, at::TensorOptions().device(device).dtype(dtype));
          network.forward(residual, cache, 0);
          CHECK((residual.scalar_type() == at::kFloat));
          check_close(residual.squeeze(0), x, tolerance, std::string("block in ") + at::toString(dtype));
        }
      }
    }
  }

  TEST_CASE("a step of many rows over pages is that of each behind its own cache, and has no other bits in company") {
    for (const at::Device& device : devices()) {
      for (const bool rms : {true, false}) {
        const Tensors tensors = random_transformer({.layers = 1, .width = 48, .hidden = 70, .vocabularies = {3}, .swiglu = rms, .biases = !rms, .norm_biases = !rms}, 23);
        const layers::BlockShape sizes{2, 48, rms ? layers::NormKind::rms : layers::NormKind::layer, 1e-5,
                                       rms ? layers::Activation::swiglu : layers::Activation::gelu};
        for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, kSameTolerance}, {at::kHalf, 1e-2}, {at::kBFloat16, 8e-2}}) {
          const std::string name = std::string(rms ? "SwiGLU in " : "GELU in ") + at::toString(dtype) + " on " + device.str();
          const at::TensorOptions options = at::TensorOptions().device(device).dtype(dtype);
          const auto network = layers::TransformerBlock::load(opened(tensors, {device, dtype}).scope("layers.0"), sizes);
          const at::Tensor start = Numbers(24).normal({5, 48}, 2).to(device);
          layers::KvPool pool({1, 2, 24}, 10, options);
          const auto stepped = [&](const at::Tensor& residual) {
            std::vector<ops::PagedRow> rows(static_cast<size_t>(residual.size(0)));
            std::vector<const ops::PagedRow*> all;
            for (ops::PagedRow& row : rows) {
              pool.extend(row);
              all.push_back(&row);
            }
            at::Tensor changed = residual.clone();
            network.forward(changed, pool.memory(), 0, all);
            for (ops::PagedRow& row : rows) pool.release(row);
            return changed;
          };
          const at::Tensor together = stepped(start);
          for (int64_t row = 0; row < 5; ++row) {
            at::Tensor residual = start.narrow(0, row, 1).unsqueeze(1).clone();
            layers::KvCache cache(1, 1, 2, 1, 24, options);
            network.forward(residual, cache, 0);
            check_close(together[row], residual.view({48}).to(at::kDouble), tolerance, name);
            if (device.is_cpu() && rms) check_equal(stepped(start.narrow(0, row, 1))[0], together[row], name + ", alone");
          }
        }
      }
    }
  }
}
