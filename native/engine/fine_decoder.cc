#include "engine/fine_decoder.h"

#include <algorithm>

#include "core/error.h"
#include "engine/health.h"
#include "ops/sampling.h"

namespace metavoice::engine {

namespace {

// Constants of the published pipeline, independent of the temperature of the first stage.
constexpr ops::SamplingSettings kSampling{.temperature = 1.0F, .top_p = 1.0F, .top_k = 200};

}  // namespace

FineDecoder::FineDecoder(const models::SecondStage& model, const std::vector<int64_t>& text, at::Tensor speaker,
                         core::RandomKey random, at::Tensor context)
    : model_(model),
      text_(at::tensor(text, at::kLong)),
      speaker_(std::move(speaker)),
      context_(context.defined() ? std::move(context) : at::empty({2, 0}, at::kLong)),
      random_(random) {
  if (window_frames() < 1)
    throw core::Error("ERR_TEXT_TOO_LONG", "expected at most " + std::to_string(model.window() - 2) +
                                               " text tokens in one segment but found " + std::to_string(text.size()));
}

int64_t FineDecoder::window_frames() const { return model_.window() - 1 - text_.size(0); }

int64_t FineDecoder::whole_frames() const { return model_.window() - text_.size(0); }

at::Tensor FineDecoder::run(const at::Tensor& coarse, int64_t first, int64_t last) {
  const at::Tensor all = at::cat({context_, coarse}, 1);
  const int64_t before = context_.size(1), seen = std::min(all.size(1), window_frames()), start = all.size(1) - seen;
  core::require(before + first >= start && last <= coarse.size(1) && first < last, "frames inside the window of the second stage");
  return draw(all.narrow(1, start, seen), coarse.narrow(1, first, last - first), text_.size(0) + before + first - start, first);
}

at::Tensor FineDecoder::run_whole(const at::Tensor& coarse) {
  const int64_t before = context_.size(1), frames = std::min(coarse.size(1), whole_frames() - before);
  core::require(frames > 0, "room in the window of the second stage behind what was spoken before");
  return draw(at::cat({context_, coarse}, 1), coarse.narrow(1, 0, frames), text_.size(0) + before, 0);
}

// Draws are keyed by codebook and frame, so they don't depend on which pass made them. Padding is never drawn: inside
// the audio it would shift one codebook against the others.
at::Tensor FineDecoder::draw(const at::Tensor& seen, const at::Tensor& coarse, int64_t column, int64_t frame) {
  const int64_t frames = coarse.size(1), entries = model_.config().codebook_size;
  const at::Tensor rows = model_.input(text_, seen);
  const at::Tensor all = evaluate_finite(model_.dtype(), redone_, "second stage", [&](models::Precision precision) {
    return model_.logits(model_.forward(rows, speaker_, precision), column, frames);
  });
  const at::Tensor logits = all.narrow(2, 0, entries).to(at::kCPU).contiguous();
  at::Tensor codes = at::empty({2 + model_.predicted(), frames}, at::kLong);
  codes.narrow(0, 0, 2).copy_(coarse);
  const float* values = logits.data_ptr<float>();
  int64_t* out = codes.data_ptr<int64_t>() + 2 * frames;
  for (int64_t head = 0; head < model_.predicted(); ++head) {
    for (int64_t i = 0; i < frames; ++i) {
      const float* row = values + (head * frames + i) * entries;
      const double number = core::uniform(random_, core::Stream::second_stage, static_cast<uint32_t>(head), static_cast<uint32_t>(frame + i));
      out[head * frames + i] = ops::draw(ops::distribution({row, row + entries}, kSampling), number);
    }
  }
  return codes;
}

}  // namespace metavoice::engine
