#include "models/decode_runner.h"

#include <doctest.h>

#include <cstdlib>

#include "support/compare.h"
#include "support/networks.h"
#include "support/settings.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::FirstStage;

namespace {

// Those of a GPU, or a library that takes memory of the host (kernels/emulated_graph.cc).
const ops::DecodeKernels* kernels_for(const at::Device& device) {
  const char* emulated = std::getenv("METAVOICE_EMULATED_KERNELS");
  if (device.is_cpu()) return emulated != nullptr ? ops::open_decode_kernels(emulated) : nullptr;
  return ops::decode_kernels();
}

struct Rows {
  std::vector<ops::PagedRow> rows;
  at::Tensor ids, positions, conditioning;

  std::vector<const ops::PagedRow*> all() const {
    std::vector<const ops::PagedRow*> result;
    for (const ops::PagedRow& row : rows) result.push_back(&row);
    return result;
  }
};

// Rows of these lengths with a past of their own, and the next id of each; `padded` of them for the step.
Rows rows_of(const FirstStage& stage, layers::KvPool& pool, const std::vector<int64_t>& lengths, int64_t padded) {
  Rows result;
  const int64_t count = static_cast<int64_t>(lengths.size());
  result.ids = at::zeros({padded}, at::kLong);
  result.positions = at::zeros({padded}, at::kLong);
  result.conditioning = at::zeros({padded, stage.width()}, at::TensorOptions().device(stage.device()));
  for (int64_t i = 0; i < count; ++i) {
    Numbers numbers(static_cast<uint64_t>(lengths[static_cast<size_t>(i)]));
    ops::PagedRow row;
    const int64_t length = lengths[static_cast<size_t>(i)], heads = pool.memory().heads, width = pool.memory().head_width;
    for (row.length = 0; row.length <= length; ++row.length) pool.extend(row);
    row.length = length;
    for (int64_t layer = 0; layer < static_cast<int64_t>(pool.memory().layers.size()) && length > 0; ++layer) {
      const at::Tensor keys = numbers.normal({heads, length, width}, 1), values = numbers.normal({heads, length, width}, 1);
      pool.write(row, layer, keys.to(stage.device()), values.to(stage.device()));
    }
    result.conditioning[i].copy_(numbers.normal({stage.width()}, 1));
    result.ids[i] = length % 37;
    result.positions[i] = length;
    result.rows.push_back(row);
  }
  return result;
}

at::Tensor step(const FirstStage& stage, const layers::KvPool& pool, const Rows& rows) {
  return stage.step(rows.ids, rows.positions, rows.conditioning, pool.memory(), rows.all()).narrow(0, 0, static_cast<int64_t>(rows.rows.size())).cpu().clone();
}

double bound_of(at::ScalarType dtype) { return dtype == at::kFloat ? 1e-4 : dtype == at::kHalf ? 2e-2 : 2e-1; }

void check_steps(const at::Device& device, at::ScalarType dtype, const ops::DecodeKernels* kernels,
                 core::Quantization quantization = core::Quantization::none) {
  const std::vector<int64_t> lengths = {0, 1, 31, 32, 100, 127, 128, 190, 63, 5};
  const int64_t hidden = quantization == core::Quantization::none ? 192 : 256;
  const NetworkSizes sizes{.layers = 2, .heads = 2, .width = 128, .hidden = hidden, .window = 200, .vocabularies = {41}};
  FirstStage stage(opened(random_transformer(sizes, 3), {device, dtype, quantization}), small_first_config());
  stage.use_kernels(nullptr);
  CHECK_FALSE(stage.has_kernels());
  layers::KvPool pool = stage.make_pool(64), other_pool = stage.make_pool(64);
  const Rows rows = rows_of(stage, pool, lengths, 12), other = rows_of(stage, other_pool, lengths, 12);
  const at::Tensor wanted = step(stage, pool, rows);
  stage.use_kernels(kernels);
  REQUIRE(stage.has_kernels());
  const at::Tensor found = step(stage, other_pool, other);
  check_close(found, wanted.to(at::kDouble), bound_of(dtype), "logits");
  // What they leave behind for the next step is the same, too.
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    ops::PagedRow row = rows.rows[i], other_row = other.rows[i];
    ++row.length;
    ++other_row.length;
    for (int64_t layer = 0; layer < sizes.layers; ++layer) {
      const auto [keys, values] = pool.read(row, layer);
      const auto [other_keys, other_values] = other_pool.read(other_row, layer);
      check_close(other_keys, keys.to(at::kDouble), bound_of(dtype), "keys");
      check_close(other_values, values.to(at::kDouble), bound_of(dtype), "values");
    }
  }
  for (const size_t i : {size_t{4}, size_t{7}}) {
    layers::KvPool alone_pool = stage.make_pool(64);
    const Rows alone = rows_of(stage, alone_pool, {lengths[i], lengths[i] / 2}, 2);
    const at::Tensor own = step(stage, alone_pool, alone)[0];
    CAPTURE((own - found[static_cast<int64_t>(i)]).abs().max().item<float>());
    CAPTURE(i);
    CHECK(at::equal(own, found[static_cast<int64_t>(i)]));
  }
}

}  // namespace

TEST_SUITE("models/decode_runner") {
  TEST_CASE("steps by kernels equal steps by libtorch, and are the same alone and in company") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      if (kernels == nullptr) MESSAGE("no kernels for " << device.str());
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        CAPTURE(device.str());
        CAPTURE(dtype);
        if (kernels != nullptr) check_steps(device, dtype, kernels);
      }
    }
  }

  TEST_CASE("quantised matrices are repacked for the kernels") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      if (kernels == nullptr) MESSAGE("no kernels for " << device.str());
      for (const core::Quantization quantization : {core::Quantization::int8, core::Quantization::int4})
        for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
          CAPTURE(device.str());
          CAPTURE(dtype);
          CAPTURE(quantization == core::Quantization::int8);
          if (kernels != nullptr) check_steps(device, dtype, kernels, quantization);
        }
    }
  }

  TEST_CASE("quantised networks that they do not serve go by libtorch") {
    const NetworkSizes sizes{.heads = 2, .width = 128, .hidden = 192, .vocabularies = {41}}, odd{.heads = 2, .width = 128, .hidden = 160, .vocabularies = {41}};
    for (const at::Device& device : devices()) {
      const auto served = [&](const NetworkSizes& some, at::ScalarType dtype, core::Quantization quantization) {
        FirstStage stage(opened(random_transformer(some, 3), {device, dtype, quantization}), small_first_config());
        stage.use_kernels(kernels_for(device));
        layers::KvCache cache = stage.make_cache(2, 8);
        const at::Tensor ids = at::zeros({2, 3}, at::TensorOptions().device(device).dtype(at::kLong));
        CHECK(stage.forward(ids, at::zeros({2, 1, 128}, at::TensorOptions().device(device)), cache).isfinite().all().item<bool>());
        return stage.has_kernels();
      };
      // In int4 what leads down stays whole; in int8 its rows are no whole 64s; in float32 there are no kernels.
      CHECK_FALSE(served(sizes, at::kBFloat16, core::Quantization::int4));
      CHECK_FALSE(served(odd, at::kBFloat16, core::Quantization::int8));
      CHECK_FALSE(served(sizes, at::kFloat, core::Quantization::int8));
    }
  }

  TEST_CASE("what they do not serve goes by libtorch") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      const NetworkSizes narrow{.vocabularies = {41}}, biased{.heads = 2, .width = 128, .hidden = 192, .vocabularies = {41}, .biases = true};
      for (const NetworkSizes& sizes : {narrow, biased}) {
        FirstStage stage(opened(random_transformer(sizes, 3), {device, at::kFloat}), small_first_config());
        stage.use_kernels(kernels);
        CHECK_FALSE(stage.has_kernels());
      }
    }
  }

  TEST_CASE("pages of another dtype than the network's go by libtorch, whatever kernels there are") {
    for (const at::Device& device : devices()) {
      const NetworkSizes sizes{.layers = 2, .heads = 2, .width = 128, .hidden = 192, .window = 200, .vocabularies = {41}};
      for (const auto& [dtype, pages] : {std::pair{at::kFloat, at::kHalf}, std::pair{at::kFloat, at::kChar}, std::pair{at::kBFloat16, at::kChar}}) {
        FirstStage stage(opened(random_transformer(sizes, 3), {device, dtype}), small_first_config(), pages);
        stage.use_kernels(kernels_for(device));
        CHECK_FALSE(stage.has_kernels());
        layers::KvPool pool = stage.make_pool(64), plain_pool = stage.make_pool(64);
        const at::Tensor found = step(stage, pool, rows_of(stage, pool, {0, 33, 190}, 4));
        stage.use_kernels(nullptr);
        check_equal(step(stage, plain_pool, rows_of(stage, plain_pool, {0, 33, 190}, 4)), found, "logits");
      }
    }
  }
}
