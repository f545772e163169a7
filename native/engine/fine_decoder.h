// Completes the codes of an utterance with the second stage. The stage is not causal: what it says of a frame depends on
// the frames behind it, so the rule of when it runs, and on what, is part of the result (docs/streaming.md).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "core/random.h"
#include "models/second_stage.h"

namespace metavoice::engine {

class FineDecoder {
 public:
  // context [2, n], or undefined: frames that were spoken before, of the beginning of the text. They are seen and not drawn,
  // and frames are counted from behind them.
  FineDecoder(const models::SecondStage& model, const std::vector<int64_t>& text, at::Tensor speaker, core::RandomKey random,
              at::Tensor context = {});

  // Frames that fit the window beside the text and one column of padding, those of the context included.
  int64_t window_frames() const;
  // Frames of one whole pass in the reference's form, where padding may fall off the end.
  int64_t whole_frames() const;

  // coarse [2, n] holds the frames up to the end of what may be seen; draws frames [first, last) of them.
  // Sees at most the last `window_frames()` frames. -> [codebooks, last - first] int64, coarse rows included.
  at::Tensor run(const at::Tensor& coarse, int64_t first, int64_t last);
  // One pass over the first frames, as many as `whole_frames()` leaves beside the context. -> [codebooks, so many]
  at::Tensor run_whole(const at::Tensor& coarse);

  // Passes that were done again in float32.
  int64_t redone() const { return redone_; }

 private:
  // One pass over `seen` [2, n]; draws the frames of `coarse`, which stand at `column` of the window and begin with `frame`.
  at::Tensor draw(const at::Tensor& seen, const at::Tensor& coarse, int64_t column, int64_t frame);

  const models::SecondStage& model_;
  at::Tensor text_;  // [T] int64
  at::Tensor speaker_;
  at::Tensor context_;  // [2, n], perhaps of no frames
  core::RandomKey random_;
  int64_t redone_ = 0;
};

}  // namespace metavoice::engine
