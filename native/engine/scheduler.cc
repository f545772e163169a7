#include "engine/scheduler.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>

#include "core/error.h"
#include "core/host_memory.h"
#include "core/side_stream.h"

namespace metavoice::engine {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kStepsPerLaunch = 8;
// The weight of the newest utterance in the mean.
constexpr double kNewest = 0.25;
// How often memory that nobody uses goes back to the system, after an utterance has ended.
constexpr std::chrono::seconds kReleaseEvery{10};

double milliseconds_since(Clock::time_point start) { return std::chrono::duration<double, std::milli>(Clock::now() - start).count(); }

}  // namespace

Scheduler::Scheduler(const SchedulerSettings& settings)
    : settings_(settings), places_(std::max<int64_t>(1, settings.batch_size)), second_thread_([this] { say_chunks(); }) {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (...) {  // the system has no more threads
    request_stop(nullptr);
    second_thread_.join();
    throw;
  }
}

Scheduler::~Scheduler() { stop(); }

bool Scheduler::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
  return true;
}

bool Scheduler::add(std::shared_ptr<Utterance> utterance) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    require_room(*utterance);
    places_.wait(std::move(utterance));
  }
  changed_.notify_one();
  return true;
}

void Scheduler::require_room(const Utterance& utterance) {
  if (utterance.continues()) return;
  const int64_t left = places_.left_waiting_with(utterance);
  if (left <= settings_.max_queue) return;
  statistics_.count(Statistics::Fate::refused);
  const auto active = static_cast<int64_t>(places_.active().size());
  const int64_t ahead = active + places_.waiting();
  // They share one device, and those that have a place go side by side.
  const double wait = mean_milliseconds_ * static_cast<double>(ahead) / static_cast<double>(std::max<int64_t>(1, active));
  const std::string seconds = std::to_string(static_cast<int64_t>(std::ceil(wait / 1000)));
  core::Error::Details details = {{"ahead", std::to_string(ahead)}, {"maxQueue", std::to_string(settings_.max_queue)}};
  if (mean_milliseconds_ > 0) details.emplace_back("predictedSeconds", seconds);
  throw core::Error("ERR_QUEUE_FULL",
                    "expected at most " + std::to_string(settings_.max_queue) + " requests to wait for their turn, but " +
                        std::to_string(ahead) + " are there already (" +
                        (mean_milliseconds_ > 0 ? "about " + seconds + " s until another is heard" : "none has ended yet to tell how long that takes") +
                        "); try again later, or load the model with a larger batchSize or maxQueue",
                    std::move(details));
}

void Scheduler::wake() {
  // Passing through the lock orders the wake after the change that the thread must see.
  { const std::lock_guard lock(mutex_); }
  changed_.notify_one();
}

void Scheduler::request_stop(std::function<void()> when_stopped) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    when_stopped_ = std::move(when_stopped);
    places_.each([](Utterance& utterance) { utterance.cancel(); });
  }
  changed_.notify_one();
  claimed_.notify_one();
  side_jobs_.request_stop();
}

void Scheduler::stop() {
  request_stop(nullptr);
  if (thread_.joinable()) thread_.join();
}

void Scheduler::prepare(std::shared_ptr<const SpeechModel> model) {
  int64_t pages = 0;
  if (model->has_first_stage()) {
    const models::FirstStage& stage = model->first_stage();
    const int64_t longest = settings_.positions > 0 ? std::min(settings_.positions, stage.window()) : stage.window();
    pages = std::max<int64_t>(1, settings_.batch_size) * settings_.rows * layers::KvPool::pages_for(longest);
    pool_ = std::make_unique<layers::KvPool>(stage.make_pool(pages));
    batch_step_.emplace(stage, *pool_, RowCounts::of(stage, places_.most() * settings_.rows, settings_.deterministic));
    statistics_.set_pool(pages, pool_->page_bytes());
  }
  model_ = std::move(model);
  const std::lock_guard lock(mutex_);
  places_.open(pages);
}

void Scheduler::run() {
  const c10::InferenceMode inference;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    retire_finished();
    std::function<void()> launch;
    if (!jobs_.empty()) {
      launch = std::move(jobs_.front());
      jobs_.pop_front();
    } else {
      places_.admit();
      claim_chunks();
      launch = next_launch();
    }
    report_load();
    if (launch) {
      lock.unlock();
      launch();
      launch = nullptr;  // what it holds goes before the lock comes back
      lock.lock();
    } else if (saying_ || !claims_.empty() || !places_.make_room()) {
      changed_.wait(lock);
    }
  }
  lock.unlock();
  second_thread_.join();
  side_jobs_.join();
  lock.lock();
  claims_.clear();
  places_.each([](Utterance& utterance) { utterance.release(); });
  places_.clear();
  jobs_.clear();
  const std::function<void()> when_stopped = std::move(when_stopped_);
  lock.unlock();
  batch_step_.reset();
  pool_.reset();
  model_.reset();
  if (when_stopped) when_stopped();
}

void Scheduler::retire_finished() {
  std::erase_if(claims_, [](const Claim& claim) {
    const bool dropped = claim.utterance->leaving();
    if (dropped) claim.utterance->said();
    return dropped;
  });
  bool any = false;
  places_.retire([&](Utterance& utterance) {
    any = true;
    const double spent = utterance.spent();
    const bool cancelled = !utterance.done();
    if (!cancelled && spent > 0)
      mean_milliseconds_ = mean_milliseconds_ == 0 ? spent : (1 - kNewest) * mean_milliseconds_ + kNewest * spent;
    statistics_.count(cancelled ? Statistics::Fate::cancelled : utterance.failed() ? Statistics::Fate::failed : Statistics::Fate::ended);
    utterance.release();
  });
  const Clock::time_point now = Clock::now();
  if (!any || now - released_ < kReleaseEvery) return;
  released_ = now;
  side_jobs_.post(core::release_host_memory);
}

void Scheduler::report_load() {
  const std::vector<Handle>& active = places_.active();
  const auto resting = std::count_if(active.begin(), active.end(), [](const Handle& each) { return !each->wants_work(); });
  statistics_.set_load(static_cast<int64_t>(active.size()), resting, places_.parked(), places_.waiting());
  if (pool_) statistics_.set_pages_used(pool_->pages() - pool_->unused());
}

// Prompts first, of which each utterance has one: a batch is worth the more the fuller it is.
std::function<void()> Scheduler::next_launch() {
  if (!places_.is_open())
    return places_.waiting() == 0 ? nullptr : std::function<void()>([this, first = places_.first_waiting()] {
      try {
        prepare(first->model());
      } catch (...) {
        first->fail(std::current_exception());
      }
    });
  const std::vector<Handle>& active = places_.active();
  for (const Handle& utterance : active)
    if (utterance->need() == Utterance::Need::prompt)
      return [this, utterance] { utterance->prompt(utterance->most_pages() > pool_pages() ? nullptr : pool_.get()); };
  const bool steps = std::any_of(active.begin(), active.end(), [this](const Handle& each) { return each->need() == Utterance::Need::step && places_.grant(*each); });
  if (steps) return [this] { step_together(); };
  return nullptr;
}

void Scheduler::claim_chunks() {
  for (const Handle& utterance : places_.active())
    while (utterance->need() == Utterance::Need::chunk) {
      try {
        claims_.push_back({utterance, {}});  // so that nothing can fail once it is claimed
        claims_.back().due = utterance->claim_chunk();
      } catch (...) {
        if (!claims_.empty() && claims_.back().due.last == 0) claims_.pop_back();
        utterance->fail(std::current_exception());
      }
    }
  if (!claims_.empty()) claimed_.notify_one();
}

// First chunks come first, for somebody waits for them in silence. Those of one utterance stay in order.
Scheduler::Claim Scheduler::next_claim() {
  auto next = std::find_if(claims_.begin(), claims_.end(), [](const Claim& claim) { return claim.due.opening; });
  if (next == claims_.end()) next = claims_.begin();
  Claim claim = std::move(*next);
  claims_.erase(next);
  return claim;
}

void Scheduler::say_chunks() {
  const c10::InferenceMode inference;
  core::SideStream stream;
  std::unique_lock lock(mutex_);
  while (true) {
    claimed_.wait(lock, [this] { return stopping_ || !claims_.empty(); });
    if (stopping_) return;
    {
      const Claim claim = next_claim();
      saying_ = true;
      lock.unlock();
      stream.enter(claim.utterance->model()->device());
      say(claim);
      lock.lock();
      claim.utterance->said();
    }
    saying_ = false;
    changed_.notify_one();
  }
}

void Scheduler::say(const Claim& claim) {
  const int64_t frames = claim.utterance->say(claim.due);
  if (frames == 0) return;
  const models::encodec::Encodec& codec = claim.utterance->model()->codec();
  statistics_.count_audio(static_cast<double>(frames * codec.hop()) / static_cast<double>(codec.sample_rate()));
}

// Who takes steps, and how many in one launch: none beyond the chunk that is due next, whoever's it is, and no more than there
// are pages for. Under the lock.
int64_t Scheduler::choose_steps(int64_t most, std::vector<Handle>& all) {
  int64_t steps = std::min(most, batch_step_->most_steps());
  for (const Handle& utterance : places_.active())
    if (utterance->need() == Utterance::Need::step && places_.grant(*utterance)) {
      all.push_back(utterance);
      steps = std::min(steps, utterance->steps_to_chunk());
    }
  for (const Handle& utterance : all)
    while (steps > 1 && !places_.grant(*utterance, steps)) --steps;
  return steps;
}

void Scheduler::step_together() {
  for (int64_t taken = 0; taken < kStepsPerLaunch;) {
    std::vector<Handle> all;
    int64_t steps = 0;
    {
      const std::lock_guard lock(mutex_);
      if (taken > 0 && (stopping_ || !jobs_.empty())) return;
      steps = choose_steps(kStepsPerLaunch - taken, all);
    }
    if (all.empty()) return;
    std::vector<int64_t> before;
    for (const Handle& each : all) before.push_back(each->coarse().steps());
    take_steps(all, steps);
    count_steps(all, before);
    if (std::any_of(all.begin(), all.end(), [](const Handle& each) { return each->need() == Utterance::Need::chunk; })) return;
    taken += steps;
  }
}

// One that ended took fewer of them than others; one that failed began them.
void Scheduler::count_steps(const std::vector<Handle>& all, const std::vector<int64_t>& before) {
  std::vector<int64_t> took;
  for (size_t i = 0; i < all.size(); ++i) took.push_back(std::max<int64_t>(1, all[i]->coarse().steps() - before[i]));
  for (int64_t step = 0; step < *std::max_element(took.begin(), took.end()); ++step)
    statistics_.count_step(std::count_if(took.begin(), took.end(), [step](int64_t each) { return each > step; }));
}

void Scheduler::take_steps(const std::vector<Handle>& all, int64_t steps) {
  const Clock::time_point start = Clock::now();
  std::vector<CoarseDecoder*> together;
  std::vector<Utterance*> speakers;
  together.reserve(all.size());
  speakers.reserve(all.size());
  for (const Handle& utterance : all) {
    CoarseDecoder& decoder = utterance->coarse();
    try {
      if (!decoder.run().paged()) {
        for (int64_t step = 0; step < steps && !decoder.ended(); ++step) decoder.step();
        continue;
      }
      decoder.run().extend(std::min(steps, decoder.left()));
      speakers.push_back(utterance.get());
      together.push_back(&decoder);
    } catch (...) {
      utterance->fail(std::current_exception());
    }
  }
  try {
    for (const auto& [decoder, failure] : batch_step_->run(together, steps))
      speakers[static_cast<size_t>(std::find(together.begin(), together.end(), decoder) - together.begin())]->fail(failure);
  } catch (...) {
    // There was no memory for all of them: the last one to come makes way.
    if (!speakers.empty()) speakers.back()->fail(std::current_exception());
  }
  for (const Handle& utterance : all) utterance->took_step(milliseconds_since(start));
}

}  // namespace metavoice::engine
