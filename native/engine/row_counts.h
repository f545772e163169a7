// How many rows a batch is made of. A matrix product of libtorch may sum in another order for another number of rows, so
// that a row would have other bits in other company; which numbers of rows are safe is tried out, once each. Our own loops,
// by which steps go on the CPU, are safe for all of them, and nothing is padded.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "models/first_stage.h"

namespace metavoice::engine {

// What is padded at all, but for one or two rows, is padded to a multiple of this; it is also the batch that others are compared with.
constexpr int64_t kFewestRows = 4;

class RowCounts {
 public:
  enum class Sizes { few, all };
  // `same(rows)`: whether a batch of so many rows has the bits that its rows have in batches of four. Few sizes are tried, or
  // before them the very number of rows.
  RowCounts(int64_t most_rows, std::function<bool(int64_t rows)> same, Sizes sizes = Sizes::few);

  // As a first stage on its device needs it.
  static RowCounts of(const models::FirstStage& model, int64_t most_rows, bool deterministic);

  struct Count {
    int64_t rows;    // how many of those that are there go together
    int64_t padded;  // to so many
  };
  // For so many rows of utterances; they go in several batches where no larger one is safe.
  Count next(int64_t rows);

 private:
  bool safe(int64_t rows);

  int64_t most_rows_;
  Sizes sizes_;
  std::function<bool(int64_t)> same_;
  std::map<int64_t, bool> known_;
};

// Whether a step of `rows` rows of this model has the bits of steps of four.
bool same_bits(const models::FirstStage& model, int64_t rows);

}  // namespace metavoice::engine
