// What computes an utterance, for its threads alone: steps touch one part of it, and saying a chunk the other, so that both may
// go on at a time.
#pragma once

#include <chrono>
#include <cstdint>

#include "engine/utterance.h"

namespace metavoice::engine {

// Milliseconds while it lives.
class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { total_ += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  double& total_;
  std::chrono::steady_clock::time_point start_;
};

struct UtteranceWork {
  // The model and the request outlive it.
  UtteranceWork(const SpeechModel& speech_model, const UtteranceRequest& wanted, core::Stopped stopped);

  int64_t chunk_end(size_t index) const;
  // Frames without which the next chunk of a stream can't be said.
  int64_t frames_for_chunk() const;
  bool chunk_ready() const;
  // At least so many steps, unless the model ends before.
  int64_t steps_to_chunk() const;
  // Takes note of the chunk that is due, and of what it is made of.
  DueChunk claim();
  Chunk say(const DueChunk& due);

  // What steps touch.
  const SpeechModel& model;
  const UtteranceRequest& request;
  CoarseDecoder coarse;
  Timings timings;
  int64_t claimed = 0;  // frames
  int64_t drawn = 0;    // frames that the second stage was asked for
  size_t chunks = 0;    // that were claimed
  // What saying a chunk touches.
  FineDecoder fine;
  SoundDecoder sound;
  at::Tensor known;  // codes that were drawn behind the chunks that were said, [codebooks, n]
  Timings saying;

 private:
  at::Tensor visible(int64_t last) const;
  at::Tensor whole_codes(const at::Tensor& all);
  at::Tensor draw(const DueChunk& due);
  at::Tensor levelled(const at::Tensor& samples) const;
};

}  // namespace metavoice::engine
