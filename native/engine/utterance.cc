#include "engine/utterance.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "core/error.h"

namespace metavoice::engine {

namespace {

constexpr int kStepsPerLaunch = 8;

class Stopwatch {
 public:
  explicit Stopwatch(double& total) : total_(total), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { total_ += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  double& total_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace

struct Utterance::Work {
  Work(const SpeechModel& speech_model, const UtteranceRequest& wanted)
      : model(speech_model),
        request(wanted),
        coarse(model.first_stage(), request.coarse),
        fine(model.second_stage(), request.second_stage_text, request.coarse.speaker, request.coarse.random, request.coarse.context) {
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
  }

  int64_t chunk_end(size_t index) const {
    const std::vector<int64_t>& ends = request.chunk_ends;
    if (index < ends.size()) return ends[index];
    const int64_t length = ends.size() > 1 ? ends.back() - ends[ends.size() - 2] : ends.back();
    return ends.back() + static_cast<int64_t>(index - ends.size() + 1) * length;
  }

  bool chunk_ready() const {
    // One frame more at least: after the last frame there must be no chunk without frames.
    const int64_t beyond = std::max<int64_t>(1, request.look_ahead);
    return coarse.ended() || (!request.whole && coarse.frames() >= chunk_end(chunks) + beyond);
  }

  // What the second stage may see for a chunk that ends at `last`: never more, however much exists.
  at::Tensor visible(int64_t last) const { return coarse.codes(0, std::min(coarse.frames(), last + request.look_ahead)); }

  at::Tensor whole_codes() {
    const int64_t frames = coarse.frames();
    std::vector<at::Tensor> pieces = {fine.run_whole(coarse.codes(0, frames))};
    const int64_t length = std::max<int64_t>(1, chunk_end(request.chunk_ends.size()) - chunk_end(request.chunk_ends.size() - 1));
    for (int64_t first = pieces[0].size(1); first < frames; first += length) {
      const int64_t last = std::min(first + length, frames);
      pieces.push_back(fine.run(visible(last), first, last));
    }
    return at::cat(pieces, 1);
  }

  Chunk next_chunk() {
    const int64_t frames = coarse.frames();
    if (frames == 0)
      throw core::Error("ERR_NO_AUDIO", "the model ended before the first frame of audio; try another seed or a longer text");
    const int64_t last = request.whole ? frames : std::min(chunk_end(chunks), frames);
    at::Tensor codes;
    {
      const Stopwatch watch(timings.second_stage);
      codes = request.whole ? whole_codes() : fine.run(visible(last), spoken, last);
    }
    Chunk chunk;
    {
      const Stopwatch watch(timings.decoder);
      const at::Tensor samples = require_finite(model.codec().decode(codes, decoder), "codec").to(at::kCPU).contiguous();
      chunk.samples.assign(samples.data_ptr<float>(), samples.data_ptr<float>() + samples.numel());
    }
    const at::Tensor short_codes = codes.contiguous();
    chunk.codes.assign(short_codes.data_ptr<int64_t>(), short_codes.data_ptr<int64_t>() + short_codes.numel());
    chunk.frames = last - spoken;
    chunk.first_frame = spoken;
    if (coarse.ended() && last == frames) chunk.end_reason = coarse.stopped() ? EndReason::end : EndReason::limit;
    timings.steps = coarse.steps();
    chunk.timings = timings;
    chunk.health = {coarse.redone(), fine.redone()};
    spoken = last;
    ++chunks;
    return chunk;
  }

  const SpeechModel& model;
  const UtteranceRequest& request;
  CoarseDecoder coarse;
  FineDecoder fine;
  models::encodec::DecoderState decoder;
  Timings timings;
  int64_t spoken = 0;  // frames
  size_t chunks = 0;
};

Utterance::Utterance(std::shared_ptr<const SpeechModel> model, UtteranceRequest request, std::function<void()> notify)
    : model_(std::move(model)),
      request_(std::move(request)),
      notify_(std::move(notify)),
      window_(model_->has_first_stage() ? model_->first_stage().window() : 1) {}

Utterance::~Utterance() = default;

bool Utterance::finished() const {
  const std::lock_guard lock(mutex_);
  return done_ || cancelled();
}

bool Utterance::done() const {
  const std::lock_guard lock(mutex_);
  return done_;
}

bool Utterance::failed() const {
  const std::lock_guard lock(mutex_);
  return failure_ != nullptr;
}

bool Utterance::wants_work() const {
  const std::lock_guard lock(mutex_);
  return !done_ && !cancelled() && chunks_.size() < static_cast<size_t>(std::max<int64_t>(1, request_.waiting_chunks));
}

Utterance::Need Utterance::need() const {
  if (!wants_work()) return Need::nothing;
  if (!work_ || !work_->coarse.started()) return Need::prompt;
  return work_->chunk_ready() ? Need::chunk : Need::step;
}

Utterance::Work& Utterance::work() {
  if (!work_) work_ = std::make_unique<Work>(*model_, request_);
  return *work_;
}

void Utterance::prompt(layers::KvPool* pool) {
  try {
    const Stopwatch watch(work().timings.prefill);
    work_->coarse.prefill(pool);
  } catch (...) {
    fail(std::current_exception());
  }
}

CoarseDecoder& Utterance::coarse() { return work_->coarse; }

void Utterance::took_step(double milliseconds) { work_->timings.first_stage += milliseconds; }

void Utterance::fail(std::exception_ptr failure) { publish(std::nullopt, true, std::move(failure)); }

int64_t Utterance::chunk() {
  try {
    Chunk chunk = work_->next_chunk();
    const bool done = chunk.end_reason != EndReason::none;
    const int64_t frames = chunk.frames;
    publish(std::move(chunk), done, nullptr);
    return frames;
  } catch (...) {
    fail(std::current_exception());
    return 0;
  }
}

void Utterance::park() {
  if (!work_) return;
  try {
    work_->coarse.run().park();
  } catch (...) {
    fail(std::current_exception());
  }
}

void Utterance::unpark() {
  if (!work_) return;
  try {
    work_->coarse.run().unpark();
  } catch (...) {
    fail(std::current_exception());
  }
}

void Utterance::advance() {
  switch (need()) {
    case Need::nothing: return;
    case Need::prompt: return prompt(nullptr);
    case Need::chunk: chunk(); return;
    case Need::step: break;
  }
  try {
    const Stopwatch watch(work_->timings.first_stage);
    for (int i = 0; i < kStepsPerLaunch && !work_->chunk_ready() && !cancelled(); ++i) work_->coarse.step();
  } catch (...) {
    fail(std::current_exception());
  }
}

int64_t Utterance::needed_pages() const { return work_ ? work_->coarse.run().needed_pages() : 0; }

size_t Utterance::spoken_chunks() const {
  const std::lock_guard lock(mutex_);
  return spoken_;
}

// The last id that is drawn is never fed.
int64_t Utterance::pages_for(int64_t frames) const {
  const int64_t most = request_.coarse.maximum_frames;
  const int64_t positions = request_.coarse.prompt_length() + 2 * (frames <= 0 ? most : std::min(frames, most));
  return request_.coarse.guidance.rows() * layers::KvPool::pages_for(std::min(positions, window_ - 1));
}

double Utterance::spent() const {
  if (!work_) return 0;
  const Timings& timings = work_->timings;
  return timings.prefill + timings.first_stage + timings.second_stage + timings.decoder;
}

void Utterance::release() {
  work_.reset();
  model_.reset();
}

void Utterance::publish(std::optional<Chunk> chunk, bool done, std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    if (chunk) {
      chunks_.push_back(std::move(*chunk));
      ++spoken_;
    }
    done_ = done;
    failure_ = std::move(failure);
  }
  if (notify_) notify_();
}

std::optional<Utterance::Outcome> Utterance::take() {
  const std::lock_guard lock(mutex_);
  if (cancelled()) return Outcome{};
  if (!chunks_.empty()) {
    Outcome outcome{std::move(chunks_.front()), nullptr};
    chunks_.pop_front();
    return outcome;
  }
  if (done_) return Outcome{std::nullopt, failure_};
  return std::nullopt;
}

void Utterance::cancel() {
  const std::lock_guard lock(mutex_);
  cancelled_ = true;
  chunks_.clear();
}

}  // namespace metavoice::engine
