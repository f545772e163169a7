// The first stage over one growing sequence of ids: its keys and values, its rows of guidance, and the second chance in
// float32 of a step that overflowed. Its memory is pages of the common pool, in which it steps together with others, or a
// cache of its own, in which it steps alone. Pages are written once: what is in them keeps its bits, even where a step is taken
// alone, from a copy, or where they lie on the host meanwhile.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "layers/kv_cache.h"
#include "layers/kv_pool.h"
#include "models/first_stage.h"

namespace metavoice::engine {

class FirstStageRun {
 public:
  // At most `capacity` positions in each of `rows` rows; speaker [speaker width].
  FirstStageRun(const models::FirstStage& model, const at::Tensor& speaker, int64_t rows, int64_t capacity);
  ~FirstStageRun();
  FirstStageRun(const FirstStageRun&) = delete;
  FirstStageRun& operator=(const FirstStageRun&) = delete;

  // The text [T], once, always alone; with a pool, which must have room, its keys and values move there. -> finite logits
  // of the last position [rows, vocabulary] float32.
  at::Tensor prompt(const at::Tensor& text, layers::KvPool* pool = nullptr);
  // One more id, alone.
  at::Tensor step(int64_t id);

  int64_t positions() const;
  // Evaluations that were done again in float32.
  int64_t redone() const { return redone_; }

  // Whether it can step together with others.
  bool paged() const { return !paged_.empty(); }
  const std::vector<ops::PagedRow>& paged_rows() const { return paged_; }
  const at::Tensor& conditioning() const { return conditioning_; }  // [rows, 1, width]
  // Pages of the pool without which there are not so many next steps; 0 outside of the pool.
  int64_t needed_pages(int64_t steps = 1) const;
  // Takes what is missing of them.
  void extend(int64_t steps = 1);
  // An id was fed to its rows: the step of others is its own.
  void advance(int64_t id);

  // For measurements, and behind a prompt: as if so many positions had been fed. What is missing of them is random numbers.
  void seek(int64_t wanted);

  // Its pages go back to the pool and what they hold lies on the host, as it is, until it comes back.
  void park();
  void unpark();

 private:
  at::Tensor evaluate(const at::Tensor& ids);  // [rows, positions] behind the cache
  at::Tensor everything() const;               // what was fed, [rows, positions]
  layers::KvCache copy_of_pages() const;       // in the model's dtype, with room for the rest
  bool fits_pages() const;
  void move_in();
  void take_in();
  void leave_pages();

  const models::FirstStage& model_;
  int64_t rows_;
  int64_t capacity_;
  std::optional<layers::KvCache> cache_;  // while alone
  layers::KvPool* pool_ = nullptr;
  std::vector<ops::PagedRow> paged_;      // while in the pool, one for each row
  // While parked.
  struct Parked {
    int64_t length;
    std::vector<std::vector<at::Tensor>> pages;  // [row][layer]
  };
  std::optional<Parked> parked_;
  at::Tensor conditioning_;               // [rows, 1, width]
  at::Tensor prompt_;                     // [rows, T]
  std::vector<int64_t> ids_;
  int64_t redone_ = 0;
};

}  // namespace metavoice::engine
