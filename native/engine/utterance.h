// One segment being spoken. The engine thread advances it launch by launch, its decode steps together with those of
// others; its chunks may be said on another thread meanwhile; any thread may take finished ones or cancel it. Bytes depend
// on the request alone: every stage advances in quanta counted from the utterance's start.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/coarse_decoder.h"
#include "engine/fine_decoder.h"
#include "engine/health.h"
#include "engine/sound_decoder.h"
#include "engine/speech_model.h"

namespace metavoice::engine {

struct UtteranceRequest {
  CoarseRequest coarse;
  std::vector<int64_t> second_stage_text;
  std::vector<int64_t> chunk_ends;  // in frames, growing; past the last one, chunks repeat its length
  int64_t look_ahead = 0;           // frames that must exist past a chunk before the second stage runs on it
  bool whole = false;               // one pass over everything, one chunk
  int64_t diffusion_steps = 0;      // of the diffusion decoder; 0: the codec's own
  std::optional<double> loudness;   // LKFS that the whole is brought to; absent: as the decoder gives it. In chunks it is a matter of all segments
  int64_t waiting_chunks = 1;       // finished chunks that may wait for the reader
  int64_t likely_frames = 0;        // as long as it will hardly be: pages are set aside for so much; 0: the longest
};

struct Timings {  // milliseconds so far
  double prefill = 0;
  double first_stage = 0;
  double second_stage = 0;
  double decoder = 0;
  int64_t steps = 0;
};

enum class EndReason { none, end, limit };

// A chunk that is due. What it is made of is fixed here, so that steps can go on while it is being said.
struct DueChunk {
  at::Tensor coarse;      // [2, frames that may be seen]
  int64_t first = 0;      // its frames are [first, last)
  int64_t last = 0;
  int64_t drawn_first = 0;  // frames that the second stage draws now, [drawn_first, drawn_last): what the decoder must know
  int64_t drawn_last = 0;
  bool ended = false;       // no frames follow those that are drawn
  bool opening = false;   // the first of its utterance
  EndReason end_reason = EndReason::none;
  Timings timings;        // of the first stage, so far
  int64_t redone = 0;
};

struct Chunk {
  std::vector<float> samples;   // [frames * hop]
  std::vector<float> decoded;   // the same before the loudness, for who judges what was spoken; empty where none was asked for
  std::vector<uint16_t> codes;  // [codebooks, frames]
  int64_t frames = 0;
  int64_t first_frame = 0;
  EndReason end_reason = EndReason::none;  // on the last chunk
  Timings timings;
  Health health;  // so far
};

struct UtteranceWork;

class Utterance {
 public:
  // `notify` is called on a thread of the engine whenever take() has something new.
  Utterance(std::shared_ptr<const SpeechModel> model, UtteranceRequest request, std::function<void()> notify);
  ~Utterance();

  // Engine thread.
  enum class Need { nothing, prompt, step, chunk };
  // What comes next; nothing when it has ended, or its reader has enough.
  Need need() const;
  bool wants_work() const;
  // Ended, failed or cancelled; and finished: none of its chunks is being said any more, either.
  bool leaving() const;
  bool finished() const;
  // It came to its end, well or not, whatever its reader did afterwards.
  bool done() const;
  bool failed() const;
  // The prompt. With a pool, which must have room for it, its keys and values go there.
  void prompt(layers::KvPool* pool);
  // A decode step together with others: the scheduler runs it on this and tells how long it took, or why it failed.
  CoarseDecoder& coarse();
  void took_step(double milliseconds);
  // Its reader is told after the chunks that came before.
  void fail(std::exception_ptr failure);
  // Takes note of the chunk that is due; from here on it is unsaid, until said() or dropped by its cancel.
  DueChunk claim_chunk();
  // Its keys and values to the host and back.
  void park();
  void unpark();
  // One launch by itself: the prompt, or up to 8 steps, or a chunk.
  void advance();
  // Lets go of caches and model; the engine thread calls it once the utterance is finished or cancelled.
  void release();
  // Milliseconds of computing so far; once it is finished.
  double spent() const;

  // One thread at a time, chunk after chunk: second stage and decoder. -> frames that it spoke
  int64_t say(const DueChunk& due);
  // After say(), or instead of it where it was cancelled.
  void said();

  // Steps that it takes before its next chunk is due, at least one: never more than that in one launch, so that chunks come when
  // they can. Once it needs a step.
  int64_t steps_to_chunk() const;
  // Pages of the pool that it needs for its next steps, that it will hardly exceed, and that it can come to need.
  int64_t needed_pages(int64_t steps = 1) const;
  int64_t likely_pages() const { return pages_for(request_.likely_frames); }
  int64_t most_pages() const { return pages_for(request_.coarse.maximum_frames); }
  const std::shared_ptr<const SpeechModel>& model() const { return model_; }
  // A later segment of something that is being spoken.
  bool continues() const { return request_.coarse.random.segment > 0; }

  // Any thread.
  struct Outcome {
    std::optional<Chunk> chunk;   // absent at the end
    std::exception_ptr failure;
  };
  std::optional<Outcome> take();  // nothing yet: nullopt
  void cancel();
  bool cancelled() const { return cancelled_.load(std::memory_order_relaxed); }

 private:
  UtteranceWork& work();
  // What it throws becomes the failure.
  void attempt(const std::function<void()>& work);
  int64_t pages_for(int64_t frames) const;
  size_t allowed_chunks() const { return static_cast<size_t>(std::max<int64_t>(1, request_.waiting_chunks)); }

  std::shared_ptr<const SpeechModel> model_;
  UtteranceRequest request_;
  std::function<void()> notify_;
  int64_t window_;  // positions of the first stage
  std::unique_ptr<UtteranceWork> work_;  // what only the engine's threads touch
  std::atomic<bool> cancelled_{false};

  mutable std::mutex mutex_;
  std::deque<Chunk> chunks_;
  size_t unsaid_ = 0;  // chunks that were claimed and not said
  bool ending_ = false;  // no more is claimed: the last chunk was, or there is a failure to tell after the unsaid ones
  bool done_ = false;    // nothing comes behind `chunks_` but the end, or the failure
  std::exception_ptr failure_;
};

}  // namespace metavoice::engine
