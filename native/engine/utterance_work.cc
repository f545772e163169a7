#include "engine/utterance_work.h"

#include <algorithm>
#include <functional>

#include "core/error.h"
#include "ops/loudness.h"

namespace metavoice::engine {

namespace {

std::optional<DiffusionRequest> diffusion_of(const UtteranceRequest& request, core::Stopped stopped) {
  if (request.diffusion_steps == 0) return std::nullopt;
  return DiffusionRequest{request.coarse.random, request.diffusion_steps, request.chunk_ends, std::move(stopped)};
}

std::vector<float> values_of(const at::Tensor& samples) {
  const at::Tensor all = samples.contiguous();
  return {all.data_ptr<float>(), all.data_ptr<float>() + all.numel()};
}

}  // namespace

UtteranceWork::UtteranceWork(const SpeechModel& speech_model, const UtteranceRequest& wanted, core::Stopped stopped)
    : model(speech_model),
      request(wanted),
      coarse(model.first_stage(), request.coarse),
      fine(model.second_stage(), request.second_stage_text, request.coarse.speaker, request.coarse.random, request.coarse.context),
      sound(model, diffusion_of(request, std::move(stopped)), request.whole) {
  const models::FirstStageConfig& first = model.first_stage().config();
  const auto is_text = [&](int64_t id) { return id > first.end_of_audio && id <= first.end_of_text; };
  core::require(std::all_of(request.coarse.text.begin(), request.coarse.text.end(), is_text), "text ids of the first stage");
  // An id outside its table would take a CUDA context with it.
  const auto is_known = [&](int64_t id) { return id >= 0 && id < model.second_stage().vocabulary(); };
  core::require(std::all_of(request.second_stage_text.begin(), request.second_stage_text.end(), is_known),
                "text ids of the second stage");
  const std::vector<int64_t>& ends = request.chunk_ends;
  const bool growing = std::adjacent_find(ends.begin(), ends.end(), std::greater_equal<>()) == ends.end();
  core::require(!ends.empty() && ends[0] >= model.codec().first_frames() && growing,
                "chunks that grow and begin with as many frames as the codec's first piece needs");
  core::require(request.whole || !request.loudness, "a loudness for the whole alone");
}

int64_t UtteranceWork::chunk_end(size_t index) const {
  const std::vector<int64_t>& ends = request.chunk_ends;
  if (index < ends.size()) return ends[index];
  const int64_t length = ends.size() > 1 ? ends.back() - ends[ends.size() - 2] : ends.back();
  return ends.back() + static_cast<int64_t>(index - ends.size() + 1) * length;
}

// One frame more at least: after the last frame there must be no chunk without frames.
int64_t UtteranceWork::frames_for_chunk() const { return chunk_end(chunks) + std::max<int64_t>(1, request.look_ahead + sound.context()); }

bool UtteranceWork::chunk_ready() const { return coarse.ended() || (!request.whole && coarse.frames() >= frames_for_chunk()); }

int64_t UtteranceWork::steps_to_chunk() const {
  return request.whole ? coarse.left() : std::clamp<int64_t>(coarse.steps_to(frames_for_chunk()), 1, std::max<int64_t>(1, coarse.left()));
}

// What the second stage may see for a chunk that ends at `last`: never more, however much exists.
at::Tensor UtteranceWork::visible(int64_t last) const { return coarse.codes(0, std::min(coarse.frames(), last + request.look_ahead)); }

at::Tensor UtteranceWork::whole_codes(const at::Tensor& all) {
  const int64_t frames = all.size(1);
  std::vector<at::Tensor> pieces = {fine.run_whole(all)};
  const int64_t length = std::max<int64_t>(1, chunk_end(request.chunk_ends.size()) - chunk_end(request.chunk_ends.size() - 1));
  for (int64_t first = pieces[0].size(1); first < frames; first += length) {
    const int64_t last = std::min(first + length, frames);
    pieces.push_back(fine.run(all.narrow(1, 0, std::min(frames, last + request.look_ahead)), first, last));
  }
  return at::cat(pieces, 1);
}

DueChunk UtteranceWork::claim() {
  const int64_t frames = coarse.frames();
  if (frames == 0)
    throw core::Error("ERR_NO_AUDIO", "the model ended before the first frame of audio; try another seed or a longer text");
  DueChunk due;
  due.first = claimed;
  due.last = request.whole ? frames : std::min(chunk_end(chunks), frames);
  due.drawn_first = drawn;
  due.drawn_last = request.whole ? frames : std::min(due.last + sound.context(), frames);
  due.ended = coarse.ended() && due.drawn_last == frames;
  due.coarse = request.whole ? coarse.codes(0, frames) : visible(due.drawn_last);
  drawn = due.drawn_last;
  due.opening = chunks == 0;
  if (coarse.ended() && due.last == frames) due.end_reason = coarse.stopped() ? EndReason::end : EndReason::limit;
  due.timings = timings;
  due.timings.steps = coarse.steps();
  due.redone = coarse.redone();
  claimed = due.last;
  ++chunks;
  return due;
}

at::Tensor UtteranceWork::draw(const DueChunk& due) {
  const Stopwatch watch(saying.second_stage);
  if (request.whole) return whole_codes(due.coarse);
  // At the end all of it may be known already.
  if (due.drawn_first == due.drawn_last) return known.narrow(1, 0, 0);
  return fine.run(due.coarse, due.drawn_first, due.drawn_last);
}

// As loud as was asked for.
at::Tensor UtteranceWork::levelled(const at::Tensor& samples) const {
  return request.loudness ? ops::normalize_loudness(samples, model.codec().sample_rate(), *request.loudness) : samples;
}

Chunk UtteranceWork::say(const DueChunk& due) {
  const at::Tensor drawn_codes = draw(due);
  known = known.defined() ? at::cat({known, drawn_codes}, 1) : drawn_codes;
  const int64_t frames = due.last - due.first;
  const at::Tensor codes = known.narrow(1, 0, frames).contiguous();
  known = known.narrow(1, frames, known.size(1) - frames);
  Chunk chunk;
  {
    const Stopwatch watch(saying.decoder);
    const at::Tensor decoded = sound.speak(drawn_codes, due.last, due.ended);
    chunk.samples = values_of(levelled(decoded));
    if (request.loudness) chunk.decoded = values_of(decoded);
  }
  chunk.codes.assign(codes.data_ptr<int64_t>(), codes.data_ptr<int64_t>() + codes.numel());
  chunk.frames = frames;
  chunk.first_frame = due.first;
  chunk.end_reason = due.end_reason;
  chunk.timings = due.timings;
  chunk.timings.second_stage = saying.second_stage;
  chunk.timings.decoder = saying.decoder;
  chunk.health = {due.redone, fine.redone() + sound.redone()};
  return chunk;
}

}  // namespace metavoice::engine
