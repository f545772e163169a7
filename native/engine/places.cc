#include "engine/places.h"

#include <algorithm>

namespace metavoice::engine {

// One that could outgrow the whole pool computes in a cache of its own, and nobody beside it.
int64_t Places::wanted(const Utterance& utterance) const {
  if (utterance.most_pages() > pages_) return pages_;
  return std::max(utterance.likely_pages(), utterance.needed_pages());
}

int64_t Places::left_waiting_with(const Utterance& another) const {
  int64_t seats = 0, set_aside = 0, left = 0;
  for (size_t i = 0; i < active_.size(); ++i) {
    if (active_[i]->leaving()) continue;
    ++seats;
    set_aside += reserved_[i];
  }
  const auto come = [&](const Utterance& utterance) {
    const int64_t pages = is_open() ? wanted(utterance) : 0;
    // Before there is a pool, one will surely get a place.
    const bool fits = left == 0 && (is_open() ? seats < most_ && set_aside + pages <= pages_ : seats == 0);
    if (fits) {
      ++seats;
      set_aside += pages;
    } else if (!utterance.continues()) ++left;
  };
  for (const Handle& utterance : waiting_)
    if (!utterance->leaving()) come(*utterance);
  come(another);
  return left;
}

bool Places::admit() {
  bool any = false;
  // Whoever has a place and needs more pages comes first, or it would never get them.
  const bool all_have_pages = is_open() && grant_all();
  while (all_have_pages) {
    const auto back = std::find_if(parked_.begin(), parked_.end(), [](const Handle& each) { return each->wants_work(); });
    std::deque<Handle>& queue = back != parked_.end() ? parked_ : waiting_;
    const auto next = back != parked_.end() ? back : waiting_.begin();
    if (next == queue.end() || static_cast<int64_t>(active_.size()) >= most_) break;
    const int64_t pages = wanted(**next);
    if (set_aside_ + pages > pages_) break;
    Handle utterance = std::move(*next);
    queue.erase(next);
    utterance->unpark();
    seat(std::move(utterance), pages);
    any = true;
  }
  return any;
}

void Places::seat(Handle utterance, int64_t pages) {
  active_.push_back(std::move(utterance));
  reserved_.push_back(pages);
  set_aside_ += pages;
}

bool Places::grant_all() {
  bool all = true;
  for (const Handle& utterance : active_)
    if (utterance->need() == Utterance::Need::step) all = grant(*utterance) && all;
  return all;
}

bool Places::grant(const Utterance& utterance, int64_t steps) {
  const auto found = std::find_if(active_.begin(), active_.end(), [&](const Handle& each) { return each.get() == &utterance; });
  int64_t& reserved = reserved_[static_cast<size_t>(found - active_.begin())];
  const int64_t more = utterance.needed_pages(steps) - reserved;
  if (more <= 0) return true;
  if (set_aside_ + more > pages_) return false;
  set_aside_ += more;
  reserved += more;
  return true;
}

bool Places::make_room() {
  const bool wanted = !grant_all() || !waiting_.empty() || std::any_of(parked_.begin(), parked_.end(), [](const Handle& each) { return each->wants_work(); });
  if (!wanted) return false;
  for (size_t i = active_.size(); i-- > 0;) {
    if (active_[i]->wants_work()) continue;
    park(i);
    return true;
  }
  // All of them stall: the last one makes way for the first.
  if (active_.size() < 2) return false;
  park(active_.size() - 1);
  return true;
}

void Places::park(size_t index) {
  active_[index]->park();
  set_aside_ -= reserved_[index];
  parked_.push_back(std::move(active_[index]));
  active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(index));
  reserved_.erase(reserved_.begin() + static_cast<std::ptrdiff_t>(index));
}

void Places::retire(const std::function<void(Utterance&)>& each) {
  size_t kept = 0;
  for (size_t i = 0; i < active_.size(); ++i) {
    if (active_[i]->finished()) {
      set_aside_ -= reserved_[i];
      each(*active_[i]);
      continue;
    }
    std::swap(active_[kept], active_[i]);
    reserved_[kept++] = reserved_[i];
  }
  active_.resize(kept);
  reserved_.resize(kept);
  for (std::deque<Handle>* queue : {&parked_, &waiting_})
    std::erase_if(*queue, [&](const Handle& utterance) {
      const bool finished = utterance->finished();
      if (finished) each(*utterance);
      return finished;
    });
}

void Places::each(const std::function<void(Utterance&)>& each) const {
  for (const Handle& utterance : active_) each(*utterance);
  for (const std::deque<Handle>* queue : {&parked_, &waiting_})
    for (const Handle& utterance : *queue) each(*utterance);
}

void Places::clear() {
  active_.clear();
  reserved_.clear();
  parked_.clear();
  waiting_.clear();
  set_aside_ = 0;
}

}  // namespace metavoice::engine
