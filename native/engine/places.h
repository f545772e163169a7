// Who may compute: utterances get a place when pages of the key-value pool are set aside for what they will hardly
// exceed, in the order in which they came. One that comes to need more takes what nobody has set aside, or stalls until
// somebody ends. Where all who have a place rest or stall while others want one, a resting one is parked: its keys and
// values go to the host, and come back when its reader does.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "engine/utterance.h"

namespace metavoice::engine {

// So many short utterances may share the pages that one of the greatest length needs.
constexpr int64_t kShortPerLong = 4;

class Places {
 public:
  using Handle = std::shared_ptr<Utterance>;

  explicit Places(int64_t batch_size) : most_(std::min<int64_t>(256, kShortPerLong * batch_size)) {}

  // Once there is a pool. Before that nobody gets a place.
  void open(int64_t pages) { pages_ = pages; }
  bool is_open() const { return pages_ >= 0; }

  void wait(Handle utterance) { waiting_.push_back(std::move(utterance)); }
  // Gives places as far as they go; true when anybody got one. Nobody does while one who has a place lacks pages.
  bool admit();
  // Frees a place whose holder rests, for those who want one; true when it did.
  bool make_room();
  // Takes out whoever is finished; each is told to `each`.
  void retire(const std::function<void(Utterance&)>& each);
  void each(const std::function<void(Utterance&)>& each) const;
  void clear();

  // Whoever has a place, in the order in which they got it.
  const std::vector<Handle>& active() const { return active_; }
  // Whether the next steps of this one have their pages set aside; sets more aside where nobody else has.
  bool grant(const Utterance& utterance, int64_t steps = 1);

  int64_t most() const { return most_; }
  const Handle& first_waiting() const { return waiting_.front(); }
  int64_t waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t parked() const { return static_cast<int64_t>(parked_.size()); }
  // How many that begin would be left waiting after this one came: any thread that has the lock may ask.
  int64_t left_waiting_with(const Utterance& another) const;

 private:
  int64_t wanted(const Utterance& utterance) const;
  bool grant_all();
  void seat(Handle utterance, int64_t pages);
  void park(size_t index);

  int64_t most_;
  int64_t pages_ = -1;
  int64_t set_aside_ = 0;
  std::vector<Handle> active_;
  std::vector<int64_t> reserved_;  // pages of each of these
  std::deque<Handle> parked_;
  std::deque<Handle> waiting_;
};

}  // namespace metavoice::engine
