#include "engine/fine_decoder.h"

#include <doctest.h>

#include <limits>

#include "ops/sampling.h"
#include "support/compare.h"
#include "support/networks.h"
#include "support/overflow.h"

using namespace metavoice;
using namespace metavoice::testing;
using engine::FineDecoder;

namespace {

const std::vector<int64_t> kText = {17, 20, 18, 24};

models::SecondStage stage_of(const Tensors& tensors) { return {opened(tensors), small_second_config()}; }

at::Tensor speaker() { return at::linspace(-1, 1, 5); }

at::Tensor coarse(int64_t frames) { return Numbers(91).integers(16, {2, frames}); }

// Each column hears itself alone: no attention, no positions.
Tensors deaf(int64_t window) {
  Tensors tensors = small_second_stage(window);
  for (const char* layer : {"0", "1"}) tensors[std::string("layers.") + layer + ".attention.out.weight"].zero_();
  tensors["positions.weight"].zero_();
  return tensors;
}

}  // namespace

TEST_SUITE("engine/fine_decoder") {
  TEST_CASE("refuses a text beside which no frame fits") {
    const models::SecondStage stage = stage_of(small_second_stage(8));
    const auto of = [&](size_t letters) { return FineDecoder(stage, std::vector<int64_t>(letters, 17), speaker(), {}); };
    check_refused([&] { of(7); }, "ERR_TEXT_TOO_LONG", "expected at most 6 text tokens in one segment but found 7");
    CHECK(of(6).window_frames() == 1);
    CHECK(of(6).whole_frames() == 2);
  }

  TEST_CASE("refuses frames that are not there, or fell out of the window") {
    const models::SecondStage stage = stage_of(small_second_stage(16));
    FineDecoder fine(stage, kText, speaker(), {});
    REQUIRE(fine.window_frames() == 11);
    check_refused([&] { fine.run(coarse(20), 8, 20); }, "ERR_INTERNAL", "inside the window");
    check_refused([&] { fine.run(coarse(5), 0, 6); }, "ERR_INTERNAL", "inside the window");
    check_refused([&] { fine.run(coarse(5), 3, 3); }, "ERR_INTERNAL", "inside the window");
    CHECK(fine.run(coarse(20), 9, 20).sizes() == at::IntArrayRef({4, 11}));
  }

  TEST_CASE("draws each codebook and frame from the model's logits, by the number at its address, never padding") {
    for (const at::Device& device : devices()) {
      const models::SecondStage stage(opened(small_second_stage(32), {device, at::kFloat}), small_second_config());
      const core::RandomKey key{5, 2, 1};
      const at::Tensor seen = coarse(20), text = at::tensor(kText);
      const at::Tensor found = FineDecoder(stage, kText, speaker(), key).run(seen, 6, 15);
      check_equal(found.narrow(0, 0, 2), seen.narrow(1, 6, 9), "the coarse rows");
      const at::Tensor logits = stage.logits(stage.forward(stage.input(text, seen), speaker()), 4 + 6, 9).cpu();
      for (int64_t head = 0; head < 2; ++head) {
        for (int64_t i = 0; i < 9; ++i) {
          const at::Tensor row = logits[head][i].narrow(0, 0, 16).contiguous();
          const std::vector<float> values(row.data_ptr<float>(), row.data_ptr<float>() + 16);
          const double number = core::uniform(key, core::Stream::second_stage, static_cast<uint32_t>(head), static_cast<uint32_t>(6 + i));
          CHECK(found[2 + head][i].item<int64_t>() == ops::draw(ops::distribution(values, {1, 1, 200}), number));
        }
      }
    }
  }

  TEST_CASE("padding is never drawn, even where it is all that the model wants") {
    Tensors tensors = small_second_stage(32);
    for (const char* head : {"heads.0.weight", "heads.1.weight"}) tensors[head][16].fill_(0);
    tensors["norm.weight"].zero_();
    tensors["norm.bias"] = at::full({16}, 1.0F);
    for (const char* head : {"heads.0.weight", "heads.1.weight"}) tensors[head][16].fill_(100);
    const models::SecondStage stage = stage_of(tensors);
    const at::Tensor codes = FineDecoder(stage, kText, speaker(), {}).run(coarse(20), 0, 20);
    CHECK(codes.max().item<int64_t>() < 16);
  }

  TEST_CASE("a draw does not depend on which pass made it, where the logits don't") {
    const models::SecondStage stage = stage_of(deaf(20));
    FineDecoder fine(stage, kText, speaker(), {3, 0, 0});  // 15 frames fit
    const at::Tensor all = coarse(40);
    std::vector<at::Tensor> pieces, other;
    for (int64_t first = 0; first < 40; first += 5) pieces.push_back(fine.run(all.narrow(1, 0, std::min<int64_t>(40, first + 9)), first, first + 5));
    for (int64_t first = 0; first < 40; first += 8) other.push_back(fine.run(all.narrow(1, 0, first + 8), first, first + 8));
    check_equal(at::cat(pieces, 1), at::cat(other, 1), "other chunks");
    check_equal(fine.run_whole(all.narrow(1, 0, 14)), at::cat(pieces, 1).narrow(1, 0, 14), "the whole form");
  }

  TEST_CASE("past the window it sees the last frames only, with the text before them") {
    const models::SecondStage stage = stage_of(small_second_stage(20));
    const core::RandomKey key{3, 0, 0};
    FineDecoder fine(stage, kText, speaker(), key);
    const at::Tensor all = coarse(40);
    const at::Tensor found = fine.run(all, 30, 40);
    // What lies before the window has no part in it.
    at::Tensor changed = all.clone();
    changed.narrow(1, 0, 25) = 15 - changed.narrow(1, 0, 25);
    check_equal(fine.run(changed, 30, 40), found, "before the window");
    changed[0][25] = 15 - changed[0][25];
    const at::Tensor logits = stage.logits(stage.forward(stage.input(at::tensor(kText), all.narrow(1, 25, 15)), speaker()), 4 + 5, 10);
    const at::Tensor other = stage.logits(stage.forward(stage.input(at::tensor(kText), changed.narrow(1, 25, 15)), speaker()), 4 + 5, 10);
    CHECK(difference(logits, other).worst > 1e-4);
  }

  TEST_CASE("a context is seen and not drawn, and frames are counted from behind it") {
    const models::SecondStage stage = stage_of(small_second_stage(32));
    const at::Tensor all = coarse(20), context = all.narrow(1, 0, 8).contiguous(), rest = all.narrow(1, 8, 12).contiguous();
    const core::RandomKey key{5, 2, 1};
    FineDecoder fine(stage, kText, speaker(), key, context);
    const at::Tensor found = fine.run(rest, 3, 9);
    check_equal(found.narrow(0, 0, 2), rest.narrow(1, 3, 6), "the coarse rows");
    const at::Tensor logits = stage.logits(stage.forward(stage.input(at::tensor(kText), all), speaker()), 4 + 8 + 3, 6).cpu();
    for (int64_t head = 0; head < 2; ++head) {
      for (int64_t i = 0; i < 6; ++i) {
        const at::Tensor row = logits[head][i].narrow(0, 0, 16).contiguous();
        const double number = core::uniform(key, core::Stream::second_stage, static_cast<uint32_t>(head), static_cast<uint32_t>(3 + i));
        CHECK(found[2 + head][i].item<int64_t>() == ops::draw(ops::distribution({row.data_ptr<float>(), row.data_ptr<float>() + 16}, {1, 1, 200}), number));
      }
    }
    check_equal(fine.run_whole(rest), fine.run(rest, 0, 12), "the whole form");
    FineDecoder full(stage, kText, speaker(), key, coarse(28));
    check_refused([&] { full.run_whole(rest); }, "ERR_INTERNAL", "room in the window of the second stage");
  }

  TEST_CASE("the whole form takes the reference's window, in which padding may fall off the end") {
    const models::SecondStage stage = stage_of(small_second_stage(20));
    FineDecoder fine(stage, kText, speaker(), {});
    CHECK(fine.whole_frames() == 16);
    for (const int64_t frames : {1, 15, 16, 17, 30}) {
      CAPTURE(frames);
      const at::Tensor codes = fine.run_whole(coarse(frames));
      CHECK(codes.sizes() == at::IntArrayRef({4, std::min<int64_t>(16, frames)}));
      // What does not fit is not seen.
      check_equal(codes, fine.run_whole(coarse(frames).narrow(1, 0, std::min<int64_t>(16, frames))), "cut");
    }
    // Up to the streaming window, both forms are one pass over the same.
    check_equal(fine.run_whole(coarse(15)), fine.run(coarse(15), 0, 15), "both forms");
  }

  TEST_CASE("works without a speaker projection, and with other seeds draws otherwise") {
    NetworkSizes sizes{.window = 32, .vocabularies = {25, 17}, .outputs = {17, 17, 17}, .speaker = 0, .swiglu = false};
    const models::SecondStage stage = stage_of(random_transformer(sizes, 1));
    const at::Tensor codes = FineDecoder(stage, kText, {}, {1, 0, 0}).run(coarse(20), 0, 20);
    CHECK(codes.size(0) == 5);
    for (const core::RandomKey& key : {core::RandomKey{2, 0, 0}, {1, 1, 0}, {1, 0, 1}}) {
      const at::Tensor other = FineDecoder(stage, kText, {}, key).run(coarse(20), 0, 20);
      CHECK_FALSE(at::equal(other, codes));
    }
  }

  TEST_CASE("a pass that overflows float16 draws what float32 draws, and is counted; a broken one is ERR_NUMERIC") {
    for (const at::Device& device : devices()) {
      const Tensors tensors = overflowing_inside(small_second_stage(96), 3e5);
      const auto codes = [&](const Tensors& numbers, at::ScalarType dtype, int64_t& redone) {
        const models::SecondStage stage(opened(numbers, {device, dtype}), small_second_config());
        FineDecoder fine(stage, kText, speaker(), {3, 0, 0});
        const at::Tensor found = at::cat({fine.run(coarse(20), 0, 10), fine.run(coarse(20), 10, 20)}, 1);
        redone = fine.redone();
        return found;
      };
      int64_t redone = 0, none = 0;
      const at::Tensor narrow = codes(tensors, at::kHalf, redone), wide = codes(rounded_to_half(tensors), at::kFloat, none);
      CHECK(redone == 2);
      CHECK(none == 0);
      check_equal(narrow, wide, "codes on " + device.str());

      Tensors broken = small_second_stage(96);
      broken["norm.weight"][1] = std::numeric_limits<float>::quiet_NaN();
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16})
        check_refused([&] { codes(broken, dtype, none); }, "ERR_NUMERIC", "expected finite numbers from the second stage");
    }
  }
}
