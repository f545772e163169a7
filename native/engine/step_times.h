// How long the decode steps of one utterance take, wherever it is: for the benchmarks. Nothing is spoken up to there; keys and
// values are random numbers, which cost as much to read.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/speech_model.h"

namespace metavoice::engine {

// As speech takes its steps; or over a plain cache by libtorch's kernels alone, however the model is held.
enum class StepPath { own, libtorch };

struct StepTimes {
  std::vector<double> seconds;  // [positions, steps]: the whole of a step, from an id to the next one drawn
  int64_t weight_bytes;         // that each step reads, as they are held
  int64_t position_bytes;       // of keys and values, for each position that it attends to
};

// Each of `positions` is inside the window. Each step is taken at exactly that position, with two rows of guidance; on a GPU
// whose kernels take some in one launch it is one of a launch around it.
StepTimes step_times(const SpeechModel& model, const std::vector<int64_t>& positions, int64_t steps, StepPath path);

}  // namespace metavoice::engine
