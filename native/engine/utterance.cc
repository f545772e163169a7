#include "engine/utterance.h"

#include <algorithm>
#include <chrono>
#include <functional>

#include "core/error.h"
#include "ops/loudness.h"

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

std::optional<DiffusionRequest> diffusion_of(const UtteranceRequest& request, core::Stopped stopped) {
  if (request.diffusion_steps == 0) return std::nullopt;
  return DiffusionRequest{request.coarse.random, request.diffusion_steps, request.chunk_ends, std::move(stopped)};
}

std::vector<float> values_of(const at::Tensor& samples) {
  const at::Tensor all = samples.contiguous();
  return {all.data_ptr<float>(), all.data_ptr<float>() + all.numel()};
}

}  // namespace

struct Utterance::Work {
  Work(const SpeechModel& speech_model, const UtteranceRequest& wanted, core::Stopped stopped)
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

  int64_t chunk_end(size_t index) const {
    const std::vector<int64_t>& ends = request.chunk_ends;
    if (index < ends.size()) return ends[index];
    const int64_t length = ends.size() > 1 ? ends.back() - ends[ends.size() - 2] : ends.back();
    return ends.back() + static_cast<int64_t>(index - ends.size() + 1) * length;
  }

  bool chunk_ready() const {
    // One frame more at least: after the last frame there must be no chunk without frames.
    const int64_t beyond = std::max<int64_t>(1, request.look_ahead + sound.context());
    return coarse.ended() || (!request.whole && coarse.frames() >= chunk_end(chunks) + beyond);
  }

  // What the second stage may see for a chunk that ends at `last`: never more, however much exists.
  at::Tensor visible(int64_t last) const { return coarse.codes(0, std::min(coarse.frames(), last + request.look_ahead)); }

  at::Tensor whole_codes(const at::Tensor& all) {
    const int64_t frames = all.size(1);
    std::vector<at::Tensor> pieces = {fine.run_whole(all)};
    const int64_t length = std::max<int64_t>(1, chunk_end(request.chunk_ends.size()) - chunk_end(request.chunk_ends.size() - 1));
    for (int64_t first = pieces[0].size(1); first < frames; first += length) {
      const int64_t last = std::min(first + length, frames);
      pieces.push_back(fine.run(all.narrow(1, 0, std::min(frames, last + request.look_ahead)), first, last));
    }
    return at::cat(pieces, 1);
  }

  DueChunk claim() {
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

  at::Tensor draw(const DueChunk& due) {
    const Stopwatch watch(saying.second_stage);
    if (request.whole) return whole_codes(due.coarse);
    // At the end all of it may be known already.
    if (due.drawn_first == due.drawn_last) return known.narrow(1, 0, 0);
    return fine.run(due.coarse, due.drawn_first, due.drawn_last);
  }

  // As loud as was asked for.
  at::Tensor levelled(const at::Tensor& samples) const {
    return request.loudness ? ops::normalize_loudness(samples, model.codec().sample_rate(), *request.loudness) : samples;
  }

  Chunk say(const DueChunk& due) {
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
};

Utterance::Utterance(std::shared_ptr<const SpeechModel> model, UtteranceRequest request, std::function<void()> notify)
    : model_(std::move(model)),
      request_(std::move(request)),
      notify_(std::move(notify)),
      window_(model_->has_first_stage() ? model_->first_stage().window() : 1) {}

Utterance::~Utterance() = default;

bool Utterance::leaving() const {
  const std::lock_guard lock(mutex_);
  return done_ || cancelled();
}

bool Utterance::finished() const {
  const std::lock_guard lock(mutex_);
  return (done_ || cancelled()) && unsaid_ == 0;
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
  return !done_ && !ending_ && !cancelled() && chunks_.size() + unsaid_ < allowed_chunks();
}

Utterance::Need Utterance::need() const {
  if (!wants_work()) return Need::nothing;
  if (!work_ || !work_->coarse.started()) return Need::prompt;
  return work_->chunk_ready() ? Need::chunk : Need::step;
}

Utterance::Work& Utterance::work() {
  if (!work_) work_ = std::make_unique<Work>(*model_, request_, [this] { return cancelled(); });
  return *work_;
}

void Utterance::attempt(const std::function<void()>& work) {
  try {
    work();
  } catch (...) {
    fail(std::current_exception());
  }
}

void Utterance::prompt(layers::KvPool* pool) {
  attempt([&] {
    const Stopwatch watch(work().timings.prefill);
    work_->coarse.prefill(pool);
  });
}

CoarseDecoder& Utterance::coarse() { return work_->coarse; }

void Utterance::took_step(double milliseconds) { work_->timings.first_stage += milliseconds; }

void Utterance::fail(std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    if (ending_ || done_) return;
    ending_ = true;
    failure_ = std::move(failure);
    done_ = unsaid_ == 0;
    if (!done_) return;
  }
  if (notify_) notify_();
}

DueChunk Utterance::claim_chunk() {
  DueChunk due = work_->claim();
  const std::lock_guard lock(mutex_);
  ++unsaid_;
  ending_ = due.end_reason != EndReason::none;
  return due;
}

int64_t Utterance::say(const DueChunk& due) {
  if (leaving()) return 0;
  int64_t frames = 0;
  try {
    Chunk chunk = work_->say(due);
    const std::lock_guard lock(mutex_);
    if (cancelled()) return 0;
    frames = chunk.frames;
    chunks_.push_back(std::move(chunk));
    done_ = ending_ && unsaid_ == 1;
  } catch (...) {
    const std::lock_guard lock(mutex_);
    // Sampling that was stopped by the cancel has not failed.
    if (cancelled()) return 0;
    failure_ = std::current_exception();
    ending_ = done_ = true;
  }
  if (notify_) notify_();
  return frames;
}

void Utterance::said() {
  {
    const std::lock_guard lock(mutex_);
    --unsaid_;
    // A step failed while the last chunk before it was being said.
    if (unsaid_ > 0 || !ending_ || done_ || cancelled()) return;
    done_ = true;
  }
  if (notify_) notify_();
}

void Utterance::park() { if (work_) attempt([this] { work_->coarse.run().park(); }); }

void Utterance::unpark() { if (work_) attempt([this] { work_->coarse.run().unpark(); }); }

void Utterance::advance() {
  const Need next = need();
  if (next == Need::prompt) prompt(nullptr);
  if (next != Need::step && next != Need::chunk) return;
  attempt([&] {
    if (next == Need::chunk) {
      say(claim_chunk());
      said();
      return;
    }
    const Stopwatch watch(work_->timings.first_stage);
    for (int i = 0; i < kStepsPerLaunch && !work_->chunk_ready() && !cancelled(); ++i) work_->coarse.step();
  });
}

int64_t Utterance::needed_pages() const { return work_ ? work_->coarse.run().needed_pages() : 0; }

// The last id that is drawn is never fed.
int64_t Utterance::pages_for(int64_t frames) const {
  const int64_t most = request_.coarse.maximum_frames;
  const int64_t positions = request_.coarse.prompt_length() + 2 * (frames <= 0 ? most : std::min(frames, most));
  return request_.coarse.guidance.rows() * layers::KvPool::pages_for(std::min(positions, window_ - 1));
}

double Utterance::spent() const {
  if (!work_) return 0;
  const Timings& timings = work_->timings;
  return timings.prefill + timings.first_stage + work_->saying.second_stage + work_->saying.decoder;
}

void Utterance::release() {
  work_.reset();
  model_.reset();
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
