#include "models/decode_runner.h"

#include <doctest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "support/compare.h"
#include "support/kernels.h"
#include "support/settings.h"

using namespace metavoice;
using namespace metavoice::testing;
using models::FirstStage;

namespace {

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
                 core::Quantization quantization = core::Quantization::none, std::optional<at::ScalarType> pages = {}) {
  const std::vector<int64_t> lengths = {0, 1, 31, 32, 100, 127, 128, 190, 63, 5};
  const int64_t hidden = quantization == core::Quantization::none ? 192 : 256;
  const NetworkSizes sizes{.layers = 2, .heads = 2, .width = 128, .hidden = hidden, .window = 200, .vocabularies = {41}};
  FirstStage stage(opened(random_transformer(sizes, 3), {device, dtype, quantization}), small_first_config(), pages);
  // A key of int8 that lies between two steps may become either.
  const double bound = pages ? std::max(bound_of(dtype), 6e-2) : bound_of(dtype);
  stage.use_kernels(nullptr);
  CHECK_FALSE(stage.has_kernels());
  layers::KvPool pool = stage.make_pool(64), other_pool = stage.make_pool(64);
  const Rows rows = rows_of(stage, pool, lengths, 12), other = rows_of(stage, other_pool, lengths, 12);
  const at::Tensor wanted = step(stage, pool, rows);
  stage.use_kernels(kernels);
  REQUIRE(stage.has_kernels());
  const at::Tensor found = step(stage, other_pool, other);
  check_close(found, wanted.to(at::kDouble), bound, "logits");
  // What they leave behind for the next step is the same, too.
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    ops::PagedRow row = rows.rows[i], other_row = other.rows[i];
    ++row.length;
    ++other_row.length;
    for (int64_t layer = 0; layer < sizes.layers; ++layer) {
      const auto [keys, values] = pool.read(row, layer);
      const auto [other_keys, other_values] = other_pool.read(other_row, layer);
      check_close(other_keys, keys.to(at::kDouble), bound, "keys");
      check_close(other_values, values.to(at::kDouble), bound, "values");
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

// ------------------------------------------------------------------------------------------ draws

constexpr int64_t kSmallCodebook = 16, kSmallEnd = 32;

// An utterance that is being drawn: what is asked for, and its rows.
struct Speaker {
  models::Drawing drawing;
  std::vector<ops::PagedRow> rows;
};

// Two with the speaker's guidance, one with the prompt's, too; all of them with pages for `steps` more positions.
std::vector<Speaker> speakers(const FirstStage& stage, layers::KvPool& pool, int64_t steps) {
  std::vector<Speaker> result(3);
  const int64_t lengths[] = {30, 3, 100}, counts[] = {2, 3, 2};
  for (size_t i = 0; i < 3; ++i) {
    const Rows rows = rows_of(stage, pool, std::vector<int64_t>(static_cast<size_t>(counts[i]), lengths[i]), counts[i]);
    Speaker& speaker = result[i];
    speaker.rows = rows.rows;
    for (ops::PagedRow& row : speaker.rows) pool.extend(row, steps);
    models::Drawing& drawing = speaker.drawing;
    drawing.id = 5;
    drawing.conditioning = rows.conditioning.view({counts[i], 1, stage.width()}).clone();
    for (int64_t row = 0; row < counts[i]; ++row) drawing.conditioning[row].mul_(static_cast<double>(row));
    drawing.guidance = {2.5F, i == 1 ? 1.5F : 1.0F};
    drawing.sampling = {1.0F, 0.95F, i == 2 ? 20 : 0};
    drawing.constrain = i != 2;
    drawing.random = {77 + i, 1, 0};
    drawing.step = static_cast<int64_t>(4 + i);
    drawing.left = i == 0 ? 5 : 100;
  }
  return result;
}

std::vector<models::Drawing> drawings_of(std::vector<Speaker>& all) {
  std::vector<models::Drawing> result;
  for (Speaker& speaker : all) {
    speaker.drawing.rows = &speaker.rows;
    if (speaker.drawing.left > 0) result.push_back(speaker.drawing);
  }
  return result;
}

// The host draws from logits of single steps of all of them. -> what each draws
std::vector<std::vector<int64_t>> drawn_by_host(const FirstStage& stage, const layers::KvPool& pool, std::vector<Speaker>& all, int64_t steps) {
  std::vector<std::vector<int64_t>> result(all.size());
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<const ops::PagedRow*> rows;
    std::vector<int64_t> ids, positions;
    std::vector<at::Tensor> conditioning;
    for (const Speaker& speaker : all)
      for (size_t row = 0; row < speaker.rows.size() && speaker.drawing.left > 0; ++row) {
        rows.push_back(&speaker.rows[row]);
        ids.push_back(speaker.drawing.id);
        positions.push_back(speaker.rows[row].length);
        conditioning.push_back(speaker.drawing.conditioning[static_cast<int64_t>(row)]);
      }
    if (rows.empty()) break;
    const at::Tensor logits = stage.step(at::tensor(ids), at::tensor(positions), at::cat(conditioning), pool.memory(), rows).cpu().clone();
    int64_t first = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      models::Drawing& drawing = all[i].drawing;
      if (drawing.left == 0) continue;
      std::vector<float> guided = ops::guide(logits[first].data_ptr<float>(), logits.size(1), drawing.guidance);
      first += static_cast<int64_t>(all[i].rows.size());
      if (drawing.constrain) {
        if (drawing.step % 2 == 0) ops::mask_all_but(guided, {{0, kSmallCodebook}, {kSmallEnd, kSmallEnd + 1}});
        else ops::mask_all_but(guided, {{kSmallCodebook, 2 * kSmallCodebook}});
      }
      const double number = core::uniform(drawing.random, core::Stream::first_stage, 0, static_cast<uint32_t>(drawing.step));
      drawing.id = ops::draw(ops::distribution(std::move(guided), drawing.sampling), number);
      result[i].push_back(drawing.id);
      ++drawing.step;
      drawing.left = drawing.id == kSmallEnd ? 0 : drawing.left - 1;
      for (ops::PagedRow& row : all[i].rows) ++row.length;
    }
  }
  return result;
}

// The same in launches of so many steps.
std::vector<std::vector<int64_t>> drawn_by_device(const FirstStage& stage, const layers::KvPool& pool, std::vector<Speaker>& all,
                                                  const std::vector<int64_t>& launches) {
  std::vector<std::vector<int64_t>> result(all.size());
  for (const int64_t steps : launches) {
    const std::vector<models::Drawing> drawings = drawings_of(all);
    if (drawings.empty()) break;
    const std::vector<models::Drawn> drawn = stage.draw(drawings, 8, steps, pool.memory());
    size_t next = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      models::Drawing& drawing = all[i].drawing;
      if (drawing.left == 0) continue;
      const models::Drawn& found = drawn[next++];
      CHECK(found.finite);
      for (const int64_t id : found.ids) {
        result[i].push_back(id);
        drawing.id = id;
        ++drawing.step;
        drawing.left = id == kSmallEnd ? 0 : drawing.left - 1;
        for (ops::PagedRow& row : all[i].rows) ++row.length;
      }
    }
  }
  return result;
}

FirstStage drawing_stage(const at::Device& device, at::ScalarType dtype, const ops::DecodeKernels* kernels, std::optional<at::ScalarType> pages = {}) {
  const NetworkSizes sizes{.layers = 2, .heads = 2, .width = 128, .hidden = 192, .window = 200, .vocabularies = {41}};
  FirstStage stage(opened(random_transformer(sizes, 3), {device, dtype}), small_first_config(), pages);
  stage.use_kernels(kernels);
  return stage;
}

}  // namespace

TEST_SUITE("models/decode_runner") {
  TEST_CASE("ids that are drawn on the device are those that the host draws, however many steps go in a launch") {
    using Pages = std::optional<at::ScalarType>;
    for (const at::Device& device : devices())
      for (const auto& [dtype, pages] : {std::pair{at::kFloat, Pages()}, {at::kHalf, Pages()}, {at::kBFloat16, Pages()}, {at::kBFloat16, Pages(at::kChar)}}) {
        const ops::DecodeKernels* kernels = kernels_for(device);
        if (kernels == nullptr) {
          MESSAGE("no kernels for " << device.str());
          continue;
        }
        CAPTURE(device.str());
        CAPTURE(dtype);
        const FirstStage stage = drawing_stage(device, dtype, kernels, pages);
        layers::KvPool host_pool = stage.make_pool(64);
        REQUIRE(stage.steps_per_launch(host_pool.memory()) == 8);
        std::vector<Speaker> host = speakers(stage, host_pool, 12);
        const std::vector<std::vector<int64_t>> wanted = drawn_by_host(stage, host_pool, host, 12);
        CHECK(wanted[0].size() <= 5);
        for (const std::vector<int64_t>& launches : {std::vector<int64_t>{8, 4}, {1, 3, 8}}) {
          layers::KvPool pool = stage.make_pool(64);
          std::vector<Speaker> all = speakers(stage, pool, 12);
          CHECK(drawn_by_device(stage, pool, all, launches) == wanted);
        }
      }
  }

  TEST_CASE("a step without finite logits ends the draws of one utterance, and of no other") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      if (kernels == nullptr) continue;
      const FirstStage stage = drawing_stage(device, at::kFloat, kernels);
      layers::KvPool pool = stage.make_pool(64), sound_pool = stage.make_pool(64);
      std::vector<Speaker> all = speakers(stage, pool, 3), sound = speakers(stage, sound_pool, 3);
      const std::vector<models::Drawn> wanted = stage.draw(drawings_of(sound), 8, 3, sound_pool.memory());
      all[1].drawing.conditioning[2].fill_(std::numeric_limits<float>::quiet_NaN());
      const std::vector<models::Drawn> found = stage.draw(drawings_of(all), 8, 3, pool.memory());
      CHECK_FALSE(found[1].finite);
      CHECK(found[1].ids.empty());
      for (const size_t i : {size_t{0}, size_t{2}}) {
        CHECK(found[i].finite);
        CHECK(found[i].ids == wanted[i].ids);
      }
    }
  }

  TEST_CASE("steps beyond a launch, or beyond the pages, are refused") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      if (kernels == nullptr) continue;
      const FirstStage stage = drawing_stage(device, at::kFloat, kernels);
      layers::KvPool pool = stage.make_pool(64);
      std::vector<Speaker> all = speakers(stage, pool, 1);
      check_refused([&] { stage.draw(drawings_of(all), 8, 9, pool.memory()); }, "ERR_INTERNAL", "steps of one launch");
      // The first one has 30 positions, and one page.
      check_refused([&] { stage.draw(drawings_of(all), 8, 3, pool.memory()); }, "ERR_INTERNAL", "pages for all positions");
      check_refused([&] { stage.draw(drawings_of(all), 6, 1, pool.memory()); }, "ERR_INTERNAL", "rows that fit");
      all[0].drawing.guidance.prompt = 2;
      check_refused([&] { stage.draw(drawings_of(all), 8, 1, pool.memory()); }, "ERR_INTERNAL", "rows of the guidance");
    }
  }

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

  TEST_CASE("pages of int8 are read and written by the kernels as by libtorch") {
    for (const at::Device& device : devices()) {
      const ops::DecodeKernels* kernels = kernels_for(device);
      if (kernels == nullptr) MESSAGE("no kernels for " << device.str());
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        CAPTURE(device.str());
        CAPTURE(dtype);
        if (kernels != nullptr) check_steps(device, dtype, kernels, core::Quantization::none, at::kChar);
      }
      if (kernels != nullptr) check_steps(device, at::kBFloat16, kernels, core::Quantization::int4, at::kChar);
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

  TEST_CASE("pages of float16 beside a network of float32 go by libtorch, whatever kernels there are") {
    for (const at::Device& device : devices()) {
      const NetworkSizes sizes{.layers = 2, .heads = 2, .width = 128, .hidden = 192, .window = 200, .vocabularies = {41}};
      FirstStage stage(opened(random_transformer(sizes, 3), {device, at::kFloat}), small_first_config(), at::kHalf);
      stage.use_kernels(kernels_for(device));
      CHECK_FALSE(stage.has_kernels());
      layers::KvPool pool = stage.make_pool(64), plain_pool = stage.make_pool(64);
      const at::Tensor found = step(stage, pool, rows_of(stage, pool, {0, 33, 190}, 4));
      stage.use_kernels(nullptr);
      check_equal(step(stage, plain_pool, rows_of(stage, plain_pool, {0, 33, 190}, 4)), found, "logits");
    }
  }
}
