#include "engine/windowed_diffusion.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/error.h"
#include "engine/health.h"

namespace metavoice::engine {

namespace {

constexpr double kContextSeconds = 0.2, kFadeSeconds = 0.05, kLongestSeconds = 1;

// From 0 to 1 without a corner at either end; with its mirror image the sum is 1.
at::Tensor rising(int64_t samples, const at::TensorOptions& options) {
  const at::Tensor phase = (at::arange(samples, options) + 0.5) * (std::numbers::pi / 2 / static_cast<double>(samples));
  return at::sin(phase).square();
}

// The bands' sum for codes that begin at a frame of the utterance, before the equaliser.
at::Tensor sample(const SpeechModel& model, const at::Tensor& codes, int64_t first, const DiffusionRequest& request, const at::Tensor& noise,
                  int64_t& redone) {
  const models::diffusion::MultiBandDiffusion& decoder = model.diffusion().decoder;
  const int64_t hop = model.codec().hop(), samples = codes.size(1) * hop;
  const at::Tensor latent = model.codec().latent(codes);
  return evaluate_finite(decoder.dtype(), redone, "diffusion decoder", [&](models::Precision precision) {
    const models::diffusion::Noise draws =
        noise.defined() ? models::diffusion::given_noise(noise.to(decoder.device()))
                        : models::diffusion::drawn_noise(request.random, request.steps, first * hop, samples, decoder.device());
    const models::diffusion::Noise watched = [&](int64_t band, int64_t bands, int64_t draw) {
      core::require_wanted(request.stopped);
      return draws(band, bands, draw);
    };
    const at::ScalarType dtype = precision == models::Precision::own ? decoder.dtype() : at::kFloat;
    return decoder.sample(latent, samples, watched, request.steps, dtype).sum(0);
  });
}

}  // namespace

at::Tensor diffuse_whole(const SpeechModel& model, const at::Tensor& codes, const DiffusionRequest& request, const at::Tensor& noise,
                         int64_t& redone) {
  const DiffusionPart& part = model.diffusion();
  core::require(codes.size(1) > 0, "codes to decode");
  core::require(!noise.defined() || noise.sizes() == at::IntArrayRef({part.decoder.bands(), request.steps, codes.size(1) * model.codec().hop()}),
                "noise for every band, step and sample");
  models::encodec::DecoderState state;
  const at::Tensor reference = require_finite(model.codec().decode(codes, state), "codec");
  return part.equalizer.equalize(sample(model, codes, 0, request, noise, redone), reference).to(at::kCPU).contiguous();
}

WindowSizes WindowSizes::of(const models::encodec::Encodec& codec) {
  const double rate = static_cast<double>(codec.sample_rate()) / static_cast<double>(codec.hop());
  const auto frames = [&](double seconds) { return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(seconds * rate))); };
  return {frames(kContextSeconds), frames(kFadeSeconds), frames(kLongestSeconds)};
}

WindowedDiffusion::WindowedDiffusion(const SpeechModel& model, DiffusionRequest request)
    : model_(model), request_(std::move(request)), sizes_(WindowSizes::of(model.codec())), hop_(model.codec().hop()) {
  const std::vector<int64_t>& ends = request_.chunk_ends;
  const bool growing = std::adjacent_find(ends.begin(), ends.end(), std::greater_equal<>()) == ends.end();
  core::require(!ends.empty() && ends[0] > 0 && growing, "chunks that grow");
}

int64_t WindowedDiffusion::chunk_end(size_t index) const {
  const std::vector<int64_t>& ends = request_.chunk_ends;
  if (index < ends.size()) return ends[index];
  const int64_t length = ends.size() > 1 ? ends.back() - ends[ends.size() - 2] : ends.back();
  return ends.back() + static_cast<int64_t>(index - ends.size() + 1) * length;
}

// A chunk that is too long for a window is cut evenly.
int64_t WindowedDiffusion::window_end(int64_t first) const {
  size_t index = 0;
  while (chunk_end(index) <= first) ++index;
  const int64_t start = index == 0 ? 0 : chunk_end(index - 1), length = chunk_end(index) - start;
  const int64_t windows = (length + sizes_.longest - 1) / sizes_.longest;
  for (int64_t i = 1;; ++i)
    if (const int64_t end = start + length * i / windows; end > first) return end;
}

void WindowedDiffusion::add(const at::Tensor& codes, bool ended) {
  core::require(!ended_ || codes.size(1) == 0, "codes of an utterance that goes on");
  codes_ = codes_.defined() ? at::cat({codes_, codes}, 1) : codes;
  ended_ = ended_ || ended;
}

int64_t WindowedDiffusion::ready() const {
  if (ended_) return frames();
  int64_t result = done_;
  while (window_end(result) + sizes_.context <= frames()) result = window_end(result);
  return result;
}

at::Tensor WindowedDiffusion::speak(int64_t frame) {
  core::require(frame <= ready(), "a window with its context");
  std::vector<at::Tensor> pieces = {at::empty({0}, at::TensorOptions().device(model_.device()))};
  while (done_ < frame) pieces.push_back(run_window(done_, std::min(window_end(done_), frames())));
  return at::cat(pieces).to(at::kCPU).contiguous();
}

void WindowedDiffusion::hear(int64_t frames) {
  const int64_t heard = reference_.defined() ? reference_.size(0) / hop_ : 0;
  if (frames <= heard) return;
  const at::Tensor samples = require_finite(model_.codec().decode(codes_.narrow(1, heard, frames - heard), decoder_), "codec");
  reference_ = reference_.defined() ? at::cat({reference_, samples}) : samples;
}

at::Tensor WindowedDiffusion::run_window(int64_t first, int64_t last) {
  const DiffusionPart& part = model_.diffusion();
  // Windows begin on the grid of the deepest level, so that it lies alike in all of them.
  const int64_t grid = std::lcm(hop_, part.decoder.cell()) / hop_, earliest = std::max<int64_t>(0, first - sizes_.context);
  const int64_t left = grid <= sizes_.context ? earliest / grid * grid : earliest;
  const int64_t right = std::min(frames(), last + sizes_.context);
  hear(right);

  const models::diffusion::ReferenceEqualizer& equalizer = part.equalizer;
  const int64_t half = equalizer.half(), offset = (first - left) * hop_;
  const at::Tensor signal = ops::extend_ends(sample(model_, codes_.narrow(1, left, right - left), left, request_, {}, redone_), half);
  const at::Tensor reference = ops::extend_ends(reference_.narrow(0, left * hop_, (right - left) * hop_), half);
  const int64_t own = (last - first) * hop_ + 2 * half;
  equalizer.measure(levels_, signal.narrow(0, offset, own), reference.narrow(0, offset, own));

  // The next window must be able to take all of the fade.
  const int64_t next = window_end(last) - last, fade = std::min({sizes_.fade, right - last, next}) * hop_;
  at::Tensor samples = equalizer.apply(levels_, signal.narrow(0, offset, own + fade));
  if (tail_.defined() && tail_.size(0) > 0) {
    const at::Tensor weight = rising(tail_.size(0), samples.options());
    at::Tensor begin = samples.narrow(0, 0, tail_.size(0));
    begin.copy_(begin * weight + tail_ * (1 - weight));
  }
  tail_ = samples.narrow(0, (last - first) * hop_, fade).clone();
  done_ = last;
  return samples.narrow(0, 0, (last - first) * hop_);
}

}  // namespace metavoice::engine
