// Draws on the device against those of the host (ops/sampling.h), token by token.
#include "cases.h"

#include <limits>

#include "core/random.h"
#include "kernel_checks.h"
#include "ops/decode_sampling.cuh"
#include "ops/sampling.h"

namespace metavoice::testing {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// ------------------------------------------------------------------------------------------ the exponential

struct ExponentialParameters {
  const float* from;
  float* to;
  int count;
};

__global__ void exponentials(const ExponentialParameters p) {
  for (int i = static_cast<int>(blockIdx.x * 128 + threadIdx.x); i < p.count; i += 128) p.to[i] = decode::exponential(p.from[i]);
}

void expect_exponential() {
  constexpr int kCount = 200000;
  Array from(METAVOICE_FLOAT32, kCount), to(METAVOICE_FLOAT32, kCount);
  Random random(5);
  for (int i = 0; i < kCount; ++i) {
    const float most = i % 3 == 0 ? 1 : i % 3 == 1 ? 20 : 110;
    from.set(i, -most * static_cast<float>(random.bits() >> 8) / 16777216.0F);
  }
  const float edges[] = {0, -0.0F, -kInfinity, -103.97F, -103.98F, -104, -87.34F, -1e-30F, -3e38F};
  for (int i = 0; i < 9; ++i) from.set(i, edges[i]);
  from.upload();
  MetavoiceDecode step{};
  check(decode::launch<exponentials>(dim3(1), 128, 0, step, ExponentialParameters{from.floats(), to.floats(), kCount}), "exponentials");
  finish("exponentials");
  to.download();
  int wrong = 0, other = 0;
  for (int i = 0; i < kCount; ++i) {
    const auto x = static_cast<float>(from.get(i)), found = static_cast<float>(to.get(i));
    wrong += found != static_cast<float>(std::exp(static_cast<double>(x)));
    other += found != std::exp(x);
  }
  std::printf("exponentials: %d of %d are not the nearest number, %d are not those of the host's float32\n", wrong, kCount, other);
  report("the exponential", "is the nearest number", wrong == 0);
}

// ------------------------------------------------------------------------------------------ draws

struct Range {
  int entries, codebook_size, end_of_audio;
};
constexpr Range kPublished = {2562, 1024, 2048}, kSmall = {41, 16, 32}, kLargest = {METAVOICE_MOST_DRAWN, 1000, 2000}, kTiny = {3, 1, 2};

// Utterances with logits of their own, and what the device makes of them.
struct Draws {
  Range range;
  std::vector<MetavoiceUtterance> utterances;
  std::vector<std::vector<float>> logits;  // of each utterance [rows, entries]

  int add(MetavoiceUtterance utterance, std::vector<float> values) {
    utterance.first_row = rows();
    utterances.push_back(utterance);
    logits.push_back(std::move(values));
    return static_cast<int>(utterances.size()) - 1;
  }
  int rows() const { return utterances.empty() ? 0 : utterances.back().first_row + utterances.back().rows; }
};

struct Outcome {
  std::vector<std::vector<MetavoiceDrawn>> drawn;  // [launch][utterance]
  std::vector<MetavoiceUtterance> utterances;      // afterwards
  std::vector<int32_t> ids, positions;
};

constexpr int32_t kUntouched = -77;

Outcome on_device(const Draws& draws, int slots, int launches) {
  const int rows = draws.rows(), count = static_cast<int>(draws.utterances.size());
  std::vector<int32_t> words(static_cast<size_t>(count) * (sizeof(MetavoiceUtterance) / 4));
  std::memcpy(words.data(), draws.utterances.data(), words.size() * 4);
  Ints utterances(words), ids(std::vector<int32_t>(static_cast<size_t>(rows), kUntouched)), positions(std::vector<int32_t>(static_cast<size_t>(rows)));
  std::iota(positions.values().begin(), positions.values().end(), 100);
  positions.upload();
  Ints ring(std::vector<int32_t>(static_cast<size_t>(slots * count * 2), kUntouched));
  Array logits(METAVOICE_FLOAT32, int64_t{rows} * draws.range.entries);
  for (size_t i = 0; i < draws.logits.size(); ++i)
    std::memcpy(logits.bytes().data() + size_t{4} * static_cast<size_t>(draws.utterances[i].first_row * draws.range.entries), draws.logits[i].data(), 4 * draws.logits[i].size());
  logits.upload();
  MetavoiceDecode step{};
  MetavoiceDecodeEnds ends{};
  ends.entries = draws.range.entries;
  ends.logits = logits.floats();
  const MetavoiceDraw draw{reinterpret_cast<MetavoiceUtterance*>(utterances.device()), count, draws.range.codebook_size, draws.range.end_of_audio, slots,
                           ids.device(), positions.device(), reinterpret_cast<MetavoiceDrawn*>(ring.device())};
  for (int i = 0; i < launches; ++i) check(metavoice_decode_draw(&step, &ends, &draw), "draw");
  finish("draw");
  for (Ints* each : {&utterances, &ids, &positions, &ring}) each->download();
  Outcome result{{}, draws.utterances, ids.values(), positions.values()};
  std::memcpy(result.utterances.data(), utterances.values().data(), words.size() * 4);
  for (int slot = 0; slot < slots; ++slot) {
    result.drawn.emplace_back();
    for (int i = 0; i < count; ++i) {
      const int32_t* at = ring.values().data() + (slot * count + i) * 2;
      result.drawn.back().push_back({at[0], at[1]});
    }
  }
  return result;
}

// The host's own draw of the utterance's next id; -1 where it would take the step again.
int host_draw(const Range& range, const MetavoiceUtterance& u, const std::vector<float>& logits) {
  if (!std::all_of(logits.begin(), logits.end(), [](float value) { return std::isfinite(value); })) return -1;
  std::vector<float> guided = u.rows == 1 ? logits : ops::guide(logits.data(), range.entries, {u.speaker, u.prompt});
  const int64_t size = range.codebook_size, end = range.end_of_audio;
  if (u.constrain != 0) {
    if (u.step % 2 == 0) ops::mask_all_but(guided, {{0, size}, {end, end + 1}});
    else ops::mask_all_but(guided, {{size, 2 * size}});
  }
  const core::RandomKey key{static_cast<uint64_t>(u.seed[1]) << 32 | u.seed[0], u.segment, u.attempt};
  const double number = core::uniform(key, core::Stream::first_stage, 0, static_cast<uint32_t>(u.step));
  return static_cast<int>(ops::draw(ops::distribution(std::move(guided), {u.temperature, u.top_p, u.top_k}), number));
}

MetavoiceUtterance some_utterance(Random& random) {
  MetavoiceUtterance u{};
  u.rows = 1 + random.below(3);
  u.step = random.below(4000);
  u.left = 1 + random.below(9);
  u.constrain = random.below(2);
  const int top_ks[] = {0, 0, 0, 1, 2, 40, 500, 5000};
  u.top_k = top_ks[random.below(8)];
  u.segment = random.bits() >> random.below(32);
  u.attempt = static_cast<uint32_t>(random.below(3));
  u.seed[0] = random.bits();
  u.seed[1] = random.bits() >> random.below(32);
  const float guidances[] = {3, 1, 0, 0.5F, 2.37F, 7}, temperatures[] = {1, 1, 0.7F, 0.1F, 0, 1e-7F, 4, 1e6F}, top_ps[] = {1, 0.95F, 0.95F, 0.5F, 0.9F, 0.01F, 0, 0.999999F};
  u.speaker = guidances[random.below(6)];
  u.prompt = u.rows == 3 ? 1.25F + static_cast<float>(random.below(3)) : 1;
  u.temperature = temperatures[random.below(8)];
  u.top_p = top_ps[random.below(8)];
  return u;
}

// Of several kinds: as a model's, with many ties, nearly equal, far apart, with zeros of both signs.
std::vector<float> some_logits(Random& random, int rows, int entries) {
  std::vector<float> result(static_cast<size_t>(rows * entries));
  const int kind = random.below(6);
  for (float& value : result) {
    const float normal = random.normal();
    value = kind == 0 ? 3 * normal : kind == 1 ? std::round(2 * normal) : kind == 2 ? 1e-3F * normal : kind == 3 ? 1e4F * normal : kind == 4 ? 8 * normal * std::abs(normal) : (normal > 0 ? 0.0F : -0.0F);
  }
  return result;
}

void expect_same_draws(const Range& range, int wanted, uint64_t seed) {
  Random random(seed);
  int drawn = 0, differ = 0, moved = 0, ends = 0;
  while (drawn < wanted) {
    Draws draws{range, {}, {}};
    while (draws.rows() < 40 && drawn + static_cast<int>(draws.utterances.size()) < wanted) {
      const MetavoiceUtterance u = some_utterance(random);
      draws.add(u, some_logits(random, u.rows, range.entries));
    }
    const Outcome outcome = on_device(draws, 1, 1);
    for (size_t i = 0; i < draws.utterances.size(); ++i) {
      const MetavoiceUtterance &before = draws.utterances[i], &after = outcome.utterances[i];
      const int host = host_draw(range, before, draws.logits[i]);
      const bool end = host == range.end_of_audio, over = end || before.left == 1;
      const MetavoiceDrawn found = outcome.drawn[0][i];
      ++drawn;
      ends += end;
      differ += found.id != host || found.flags != (end ? METAVOICE_DRAWN | METAVOICE_ENDED : METAVOICE_DRAWN);
      bool right = after.step == before.step + 1 && after.left == (over ? 0 : before.left - 1) && after.drawn == 1;
      for (int row = before.first_row; row < before.first_row + before.rows; ++row) {
        const auto at = static_cast<size_t>(row);
        right = right && outcome.positions[at] == (over ? -1 : 101 + row) && outcome.ids[at] == (over ? kUntouched : found.id);
      }
      moved += right;
    }
  }
  const std::string name = std::to_string(range.entries) + " entries";
  std::printf("%s: %d draws, of which %d end; %d differ from the host's\n", name.c_str(), drawn, ends, differ);
  report(name, "draws are those of the host", differ == 0);
  report(name, "the next input is there", moved == drawn);
}

// Some steps in a row over logits that stay: each utterance goes on until its end, its limit, or the last slot.
void expect_rows_of_draws(const Range& range, int slots, int launches, uint64_t seed) {
  Random random(seed);
  Draws draws{range, {}, {}};
  for (int i = 0; i < 7; ++i) {
    MetavoiceUtterance u = some_utterance(random);
    u.left = 1 + i * 3 % 10;
    if (i % 2 == 0) u.temperature = 1;
    if (i % 2 == 0) u.top_k = 0;
    std::vector<float> logits = some_logits(random, u.rows, range.entries);
    // The end comes in between.
    if (i % 2 == 0)
      for (int row = 0; row < u.rows; ++row)
        for (int at = 0; at < range.entries; ++at) logits[static_cast<size_t>(row * range.entries + at)] = at == range.end_of_audio ? 3.0F : at % 5 == 0 ? 1.0F : -2.0F;
    draws.add(u, logits);
  }
  MetavoiceUtterance nobody{};
  nobody.left = 5;
  draws.add(nobody, {});
  const Outcome outcome = on_device(draws, slots, launches);
  bool right = true;
  for (size_t i = 0; i < draws.utterances.size(); ++i) {
    MetavoiceUtterance u = draws.utterances[i];
    const int steps = u.rows == 0 ? 0 : std::min(slots, launches);
    bool over = u.rows == 0;
    for (int slot = 0; slot < slots; ++slot) {
      const MetavoiceDrawn found = outcome.drawn[static_cast<size_t>(slot)][i];
      if (over || slot >= steps) {
        right = right && found.id == kUntouched && found.flags == kUntouched;
        continue;
      }
      const int host = host_draw(range, u, draws.logits[i]);
      const bool end = host == range.end_of_audio;
      right = right && found.id == host && (found.flags & METAVOICE_ENDED) == (end ? METAVOICE_ENDED : 0);
      ++u.step;
      --u.left;
      over = end || u.left == 0;
    }
    right = right && outcome.utterances[i].step == u.step && outcome.utterances[i].left == (over && u.rows > 0 ? 0 : u.left);
  }
  report(std::to_string(range.entries) + " entries", (std::to_string(launches) + " draws in a row, " + std::to_string(slots) + " slots").c_str(), right);
}

void expect_not_finite(const Range& range) {
  Random random(9);
  Draws draws{range, {}, {}};
  std::vector<bool> sound;
  const float bad[] = {NAN, kInfinity, -kInfinity};
  for (int rows = 1; rows <= 3; ++rows)
    for (int row = 0; row < rows; ++row)
      for (const float value : bad) {
        MetavoiceUtterance u = some_utterance(random);
        u.rows = rows;
        u.prompt = rows == 3 ? 2 : 1;
        u.left = 5;
        std::vector<float> logits = some_logits(random, rows, range.entries);
        draws.add(u, logits);
        sound.push_back(true);
        // Also where it would be masked.
        logits[static_cast<size_t>(row * range.entries + random.below(range.entries))] = value;
        draws.add(u, logits);
        sound.push_back(false);
      }
  // Finite logits, of which guidance makes something that is not.
  MetavoiceUtterance u = some_utterance(random);
  u.rows = 2;
  u.constrain = 0;
  u.speaker = 3;
  draws.add(u, std::vector<float>(static_cast<size_t>(2 * range.entries), 3e38F));
  sound.push_back(false);
  const Outcome outcome = on_device(draws, 2, 2);
  bool right = true;
  for (size_t i = 0; i < sound.size(); ++i) {
    const MetavoiceDrawn first = outcome.drawn[0][i], second = outcome.drawn[1][i];
    const auto row = static_cast<size_t>(draws.utterances[i].first_row);
    if (sound[i]) right = right && first.id == host_draw(range, draws.utterances[i], draws.logits[i]);
    else
      right = right && first.id == -1 && first.flags == METAVOICE_NOT_FINITE && second.flags == kUntouched && outcome.positions[row] == -1 && outcome.utterances[i].left == 0;
  }
  report(std::to_string(range.entries) + " entries", "what is not finite is told, and harms nobody", right);
}

void expect_refused() {
  MetavoiceDecode step{};
  MetavoiceDecodeEnds ends{};
  MetavoiceDraw draw{};
  draw.utterance_count = 1;
  ends.entries = METAVOICE_MOST_DRAWN + 1;
  bool right = metavoice_decode_draw(&step, &ends, &draw) == cudaErrorInvalidValue;
  ends.entries = 0;
  right = right && metavoice_decode_draw(&step, &ends, &draw) == cudaErrorInvalidValue;
  ends.entries = 10;
  draw.utterance_count = 0;
  right = right && metavoice_decode_draw(&step, &ends, &draw) == cudaErrorInvalidValue;
  report("a draw", "of too many entries, or for nobody, is refused", right);
}

// ------------------------------------------------------------------------------------------ steps in a row

// Two rows, one row and three rows. Of steps by the host, one by one, and of steps without it: the same ids.
void expect_steps_in_a_row(int dtype, int steps) {
  constexpr Range range = {41, 16, 32};
  Random random(21);
  Model model({dtype, METAVOICE_WHOLE, 128, 2, 192, range.entries, METAVOICE_FLOAT32, 2, {}}, 120, random);
  const std::vector<int32_t> last = {28 + steps, 28 + steps, 60 + steps, 3 + steps, 3 + steps, 3 + steps}, keys = {0, 1, 2, 3, 4, 5};
  std::vector<int32_t> first = last;
  for (int32_t& position : first) position -= steps;
  std::vector<MetavoiceUtterance> utterances(3);
  const int rows[] = {2, 1, 3}, first_rows[] = {0, 2, 3};
  for (size_t i = 0; i < 3; ++i) {
    utterances[i] = some_utterance(random);
    utterances[i].rows = rows[i];
    utterances[i].first_row = first_rows[i];
    utterances[i].prompt = i == 2 ? 1.5F : 1;
    utterances[i].temperature = 1;
    utterances[i].top_k = 0;
    utterances[i].top_p = 0.95F;
    utterances[i].constrain = 1;
    utterances[i].left = i == 1 ? 3 : 100;
  }

  // Pages for all steps; the positions are put back.
  Scene by_host(model, last, keys, 120, 3);
  by_host.positions.values() = first;
  std::vector<std::vector<int>> wanted(3);
  std::vector<MetavoiceUtterance> states = utterances;
  for (int step = 0; step < steps; ++step) {
    by_host.positions.upload();
    by_host.ids.upload();
    check(metavoice_decode_step(&by_host.step, by_host.layers.data(), static_cast<int32_t>(by_host.layers.size()), &by_host.ends, nullptr), "step");
    finish("step");
    by_host.logits.download();
    for (size_t i = 0; i < 3; ++i) {
      MetavoiceUtterance& u = states[i];
      if (u.left == 0) continue;
      std::vector<float> logits(static_cast<size_t>(u.rows * range.entries));
      std::memcpy(logits.data(), by_host.logits.bytes().data() + size_t{4} * static_cast<size_t>(u.first_row * range.entries), 4 * logits.size());
      const int id = host_draw(range, u, logits);
      wanted[i].push_back(id);
      ++u.step;
      u.left = id == range.end_of_audio ? 0 : u.left - 1;
      for (int row = u.first_row; row < u.first_row + u.rows; ++row) {
        by_host.ids.values()[static_cast<size_t>(row)] = id;
        int32_t& position = by_host.positions.values()[static_cast<size_t>(row)];
        position = u.left == 0 ? -1 : position + 1;
      }
    }
  }

  Scene alone(model, last, keys, 120, 3);
  alone.positions.values() = first;
  alone.positions.upload();
  std::vector<int32_t> words(3 * sizeof(MetavoiceUtterance) / 4);
  std::memcpy(words.data(), utterances.data(), words.size() * 4);
  Ints on(words);
  std::vector<int32_t> untouched(static_cast<size_t>(steps) * 3 * 2, kUntouched);
  int32_t* ring = nullptr;
#ifdef METAVOICE_EMULATED
  ring = untouched.data();
#else
  check(cudaHostAlloc(reinterpret_cast<void**>(&ring), untouched.size() * 4, cudaHostAllocDefault), "pinned memory");
  std::memcpy(ring, untouched.data(), untouched.size() * 4);
#endif
  const MetavoiceDraw draw{reinterpret_cast<MetavoiceUtterance*>(on.device()), 3, range.codebook_size, range.end_of_audio, steps,
                           alone.ids.device(), alone.positions.device(), reinterpret_cast<MetavoiceDrawn*>(ring)};
  const auto layers = static_cast<int32_t>(alone.layers.size());
#ifdef METAVOICE_EMULATED
  for (int i = 0; i < steps; ++i) check(metavoice_decode_step(&alone.step, alone.layers.data(), layers, &alone.ends, &draw), "step");
#else
  alone.step.flags = METAVOICE_EARLY_LAUNCH;
  void* graph = nullptr;
  cudaStream_t stream;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  check(metavoice_decode_capture(0, &alone.step, alone.layers.data(), layers, &alone.ends, &draw, &graph), "capture");
  check(metavoice_decode_launch(0, graph, stream, steps), "launch");
#endif
  finish("steps");
  std::vector<std::vector<int>> found(3);
  for (int step = 0; step < steps; ++step)
    for (size_t i = 0; i < 3; ++i) {
      const int32_t* at = ring + (static_cast<size_t>(step) * 3 + i) * 2;
      if (at[1] != kUntouched) found[i].push_back(at[0]);
    }
#ifndef METAVOICE_EMULATED
  metavoice_decode_release(graph);
  cudaStreamDestroy(stream);
  cudaFreeHost(ring);
#endif
  report(alone.sizes.name(), (std::to_string(steps) + " steps without the host are those with it").c_str(), found == wanted && wanted[1].size() <= 3 && !wanted[0].empty());
}

}  // namespace

}  // namespace metavoice::testing

int run_draw_cases(bool small) {
  using namespace metavoice::testing;
#ifdef METAVOICE_EMULATED
  const int draws = small ? 60 : 600;
#else
  const int draws = small ? 200 : 40000;
#endif
  expect_exponential();
  for (const Range& range : {kPublished, kSmall, kTiny, kLargest}) expect_same_draws(range, draws, static_cast<uint64_t>(range.entries));
  for (const auto& [slots, launches] : {std::pair{1, 1}, std::pair{3, 3}, std::pair{8, 8}, std::pair{8, 5}, std::pair{2, 4}})
    for (const Range& range : {kPublished, kSmall}) expect_rows_of_draws(range, slots, launches, static_cast<uint64_t>(slots + launches));
  for (const Range& range : {kPublished, kTiny}) expect_not_finite(range);
  expect_refused();
  for (const int dtype : {static_cast<int>(METAVOICE_FLOAT32), static_cast<int>(METAVOICE_FLOAT16)})
    for (const int steps : {1, 8}) expect_steps_in_a_row(dtype, steps);
  std::printf("%d passed, %d failed\n", tally().passed, tally().failed);
  return tally().failed == 0 ? 0 : 1;
}
