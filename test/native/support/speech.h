// Utterances of the small models: what to ask for, and how to read them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "engine/utterance.h"
#include "support/networks.h"

namespace metavoice::testing {

inline engine::UtteranceRequest small_request(uint64_t seed = 7, int64_t maximum_frames = 40) {
  engine::UtteranceRequest request;
  request.coarse.text = {33, 36, 34, 40};
  request.coarse.speaker = at::linspace(-1, 1, 5);
  request.coarse.random = {seed, 0, 0};
  request.coarse.maximum_frames = maximum_frames;
  for (const int64_t id : request.coarse.text) request.second_stage_text.push_back(id - kSmallTextOffset);
  request.chunk_ends = {7, 12, 22};
  request.look_ahead = 3;
  return request;
}

// The ids of a script: `frames` frames of codes, then the end of audio; as answers to a prompt of `letters`.
inline std::vector<int64_t> script_of(int64_t letters, int64_t frames, int64_t window) {
  std::vector<int64_t> script(static_cast<size_t>(window), 32);
  for (int64_t i = 0; i < 2 * frames; ++i) script[static_cast<size_t>(letters - 1 + i)] = i % 2 == 0 ? i % 16 : 16 + (3 * i) % 16;
  return script;
}

inline Tensors ending_after(int64_t frames, int64_t window = 64) {
  Tensors tensors = scripted_first_stage(script_of(4, frames, window), kSmallVocabulary);
  tensors["speaker.weight"] = at::zeros({tensors.at("positions.weight").size(1), 5});
  return tensors;
}

// What a reader got: chunks in order, and how it ended.
struct Spoken {
  std::vector<engine::Chunk> chunks;
  std::exception_ptr failure;
  bool ended = false;
};

// Runs an utterance on this thread; the reader takes as soon as there is something.
inline Spoken speak(engine::Utterance& utterance) {
  Spoken spoken;
  while (!spoken.ended) {
    if (utterance.wants_work()) utterance.advance();
    while (auto outcome = utterance.take()) {
      if (outcome->chunk) {
        spoken.chunks.push_back(std::move(*outcome->chunk));
        continue;
      }
      spoken.failure = outcome->failure;
      spoken.ended = true;
      break;
    }
  }
  utterance.release();
  return spoken;
}

inline Spoken speak(const std::shared_ptr<const engine::SpeechModel>& model, const engine::UtteranceRequest& request) {
  engine::Utterance utterance(model, request, nullptr);
  return speak(utterance);
}

inline std::string code_of(const std::exception_ptr& failure) { return failure ? core::translate(failure).code() : "none"; }

inline bool same_bytes(const Spoken& a, const Spoken& b) {
  if (a.chunks.size() != b.chunks.size()) return false;
  for (size_t i = 0; i < a.chunks.size(); ++i)
    if (a.chunks[i].samples != b.chunks[i].samples || a.chunks[i].codes != b.chunks[i].codes) return false;
  return true;
}

inline at::Tensor samples_of(const Spoken& spoken) {
  std::vector<float> all;
  for (const auto& chunk : spoken.chunks) all.insert(all.end(), chunk.samples.begin(), chunk.samples.end());
  return at::tensor(all);
}

// [codebooks, frames]
inline at::Tensor codes_of(const Spoken& spoken) {
  std::vector<at::Tensor> parts;
  for (const auto& chunk : spoken.chunks) {
    const std::vector<int64_t> codes(chunk.codes.begin(), chunk.codes.end());
    parts.push_back(at::tensor(codes, at::kLong).view({-1, chunk.frames}));
  }
  return at::cat(parts, 1);
}

// Something that other threads wait for.
class Signal {
 public:
  void notify() {
    {
      const std::lock_guard lock(mutex_);
      ++count_;
    }
    changed_.notify_all();
  }
  void wait_for(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return count_ >= count; });
  }
  // Waits for one more than `seen`, or a moment; gives the count.
  int wait_past(int seen) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(20), [&] { return count_ > seen; });
    return count_;
  }
  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

}  // namespace metavoice::testing
