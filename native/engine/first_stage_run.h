// The first stage over one growing sequence of ids: its cache, its rows of guidance, and the second chance in float32 of
// a step that overflowed.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "layers/kv_cache.h"
#include "models/first_stage.h"

namespace metavoice::engine {

class FirstStageRun {
 public:
  // Room for `capacity` positions in each of `rows` rows; speaker [speaker width].
  FirstStageRun(const models::FirstStage& model, const at::Tensor& speaker, int64_t rows, int64_t capacity);

  // The text [T], once, then ids one by one. -> finite logits of the last position [rows, vocabulary] float32.
  at::Tensor prompt(const at::Tensor& text);
  at::Tensor step(int64_t id);

  int64_t positions() const { return cache_.length(); }
  // Evaluations that were done again in float32.
  int64_t redone() const { return redone_; }

 private:
  at::Tensor evaluate(const at::Tensor& ids);  // [rows, positions] behind the cache
  at::Tensor everything() const;               // what was fed, [rows, positions]

  const models::FirstStage& model_;
  int64_t rows_;
  layers::KvCache cache_;
  at::Tensor conditioning_;  // [rows, 1, width]
  at::Tensor prompt_;        // [rows, T]
  std::vector<int64_t> ids_;
  int64_t redone_ = 0;
};

}  // namespace metavoice::engine
