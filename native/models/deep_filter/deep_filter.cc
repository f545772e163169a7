#include "models/deep_filter/deep_filter.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::models::deep_filter {

namespace {

// The bands of the file must be the ones that are counted here: gains are spread over bins by their widths alone.
void require_bands(const core::Weights& weights, const std::vector<int64_t>& widths, int64_t bins) {
  const auto bands = static_cast<int64_t>(widths.size());
  at::Tensor expected = at::zeros({bands, bins}, at::kFloat);
  for (int64_t band = 0, first = 0; band < bands; first += widths[band++]) expected[band].narrow(0, first, widths[band]).fill_(1);
  if (at::equal(weights.tensor("mask.erb_inv_fb", {bands, bins}, at::kFloat), expected)) return;
  throw core::Error("ERR_CHECKPOINT", "expected mask.erb_inv_fb of the enhancer to spread " + std::to_string(bands) + " bands over " +
                                          std::to_string(bins) + " bins as libDF does; its config.ini may be another model's",
                    {{"tensor", "mask.erb_inv_fb"}});
}

}  // namespace

DeepFilter::DeepFilter(const core::Weights& weights, const DeepFilterConfig& config)
    : config_(config),
      stft_(config.window),
      widths_(ops::erb_widths(config.sample_rate, config.window, config.sizes.bands, config.least_bins)),
      decay_(ops::mean_decay(config.sample_rate, stft_.hop(), config.mean_seconds)),
      network_(weights, config.sizes) {
  core::require(config.look_ahead >= 0 && config.look_ahead < config.sizes.order, "a look-ahead within the filters");
  core::require(config.sizes.deep_bins <= stft_.bins(), "filters for bins that are there");
  require_bands(weights, widths_, stft_.bins());
  weights.require_all_used();
}

DeepFilter::State DeepFilter::begin() const {
  const auto frame = [](int64_t size) { return Frame(static_cast<size_t>(size), 0.0F); };
  const auto& [bands, deep_bins, order] = config_.sizes;
  State state;
  state.analysis = state.synthesis = stft_.silence();
  state.means = ops::RunningMeans::initial(bands, deep_bins);
  state.network = network_.begin();
  state.spectra = frame(order * stft_.bins() * 2);
  state.levels = state.gains = frame(bands);
  state.bins = frame(deep_bins * 2);
  state.filters = frame(deep_bins * order * 2);
  state.spectrum = state.enhanced = frame(stft_.bins() * 2);
  state.samples = frame(stft_.hop());
  return state;
}

void DeepFilter::push(const float* samples, int64_t count, State& state, Frame& out) const {
  state.received += count;
  while (count > 0) {
    const int64_t taken = std::min(count, stft_.hop() - static_cast<int64_t>(state.pending.size()));
    state.pending.insert(state.pending.end(), samples, samples + taken);
    samples += taken;
    count -= taken;
    if (static_cast<int64_t>(state.pending.size()) == stft_.hop()) hop(state, out);
  }
}

void DeepFilter::finish(State& state, Frame& out) const {
  // The last samples are known when the windows over them and over a hop of silence are.
  for (int i = 0; i < 2; ++i) {
    state.pending.resize(static_cast<size_t>(stft_.hop()), 0.0F);
    hop(state, out);
  }
  // Behind the end there are no frames: spectra and features are zero, which those of silence would not be.
  for (Frame* each : {&state.spectrum, &state.levels, &state.bins}) std::fill(each->begin(), each->end(), 0.0F);
  for (int64_t i = 0; i < config_.look_ahead; ++i)
    if (advance(state.spectrum.data(), state.levels.data(), state.bins.data(), state)) emit(state, out);
}

void DeepFilter::hop(State& state, Frame& out) const {
  stft_.analyze(state.pending.data(), state.analysis, state.spectrum.data());
  state.pending.clear();
  ops::erb_levels(state.spectrum.data(), widths_, decay_, state.means, state.levels.data());
  ops::unit_norm(state.spectrum.data(), decay_, state.means, state.bins.data());
  if (advance(state.spectrum.data(), state.levels.data(), state.bins.data(), state)) emit(state, out);
}

// Takes a frame; true when the one that waited for it lies in `enhanced`. The network reads features `look_ahead` frames
// ahead of what it filters, and never those of the first frames.
bool DeepFilter::advance(const float* spectrum, const float* levels, const float* bins, State& state) const {
  const int64_t size = stft_.bins() * 2;
  std::copy(spectrum, spectrum + size, state.spectra.begin() + state.frames % config_.sizes.order * size);
  if (++state.frames <= config_.look_ahead) return false;
  network_.step(levels, bins, state.network, state.gains.data(), state.filters.data());
  filter(state);
  return true;
}

void DeepFilter::filter(State& state) const {
  const auto& [bands, deep_bins, order] = config_.sizes;
  // The ring's tap o, from the oldest frame on.
  const auto tap = [&](int64_t o) { return state.spectra.data() + (state.frames + o) % order * stft_.bins() * 2; };
  const float* now = tap(order - 1 - config_.look_ahead);
  float* to = state.enhanced.data();
  for (int64_t band = 0, bin = 0; band < bands; ++band)
    for (int64_t end = bin + widths_[band]; bin < end; ++bin) {
      to[2 * bin] = now[2 * bin] * state.gains[band];
      to[2 * bin + 1] = now[2 * bin + 1] * state.gains[band];
    }
  std::fill(to, to + 2 * deep_bins, 0.0F);
  for (int64_t o = 0; o < order; ++o) {
    const float* x = tap(o);
    for (int64_t bin = 0; bin < deep_bins; ++bin) {
      const float* weight = state.filters.data() + (bin * order + o) * 2;
      to[2 * bin] += x[2 * bin] * weight[0] - x[2 * bin + 1] * weight[1];
      to[2 * bin + 1] += x[2 * bin] * weight[1] + x[2 * bin + 1] * weight[0];
    }
  }
}

// The first hop only begins the first window: with it dropped, the output lies where the input was.
void DeepFilter::emit(State& state, Frame& out) const {
  stft_.synthesize(state.enhanced.data(), state.synthesis, state.samples.data());
  if (state.frames - config_.look_ahead == 1) return;
  const int64_t count = std::min(stft_.hop(), state.received - state.emitted);
  for (int64_t n = 0; n < count; ++n) out.push_back(std::clamp(state.samples[n], -1.0F, 1.0F));
  state.emitted += count;
}

DeepFilter::Enhanced DeepFilter::enhance_spectrum(const at::Tensor& spectrum, const at::Tensor& levels, const at::Tensor& bins,
                                                  const core::Stopped& stopped) const {
  const int64_t frames = spectrum.size(0), bands = config_.sizes.bands;
  core::require(frames >= 1 && spectrum.sizes() == at::IntArrayRef({frames, stft_.bins(), 2}) && levels.sizes() == at::IntArrayRef({frames, bands}) &&
                    bins.sizes() == at::IntArrayRef({frames, config_.sizes.deep_bins, 2}),
                "a spectrum and its features, frame by frame");
  const auto rows = [&](const at::Tensor& tensor) {  // and no more behind the end
    return at::cat({tensor.to(at::kFloat).reshape({frames, -1}), at::zeros({config_.look_ahead, tensor.numel() / frames})}).contiguous();
  };
  const at::Tensor spectra = rows(spectrum), features = rows(levels), parts = rows(bins);
  Enhanced result{at::empty({frames, stft_.bins(), 2}), at::empty({frames, bands})};
  State state = begin();
  int64_t done = 0;
  for (int64_t frame = 0; frame < spectra.size(0); ++frame) {
    core::require_wanted(stopped);
    const auto row = [&](const at::Tensor& tensor) { return tensor.const_data_ptr<float>() + frame * tensor.size(1); };
    if (!advance(row(spectra), row(features), row(parts), state)) continue;
    std::copy(state.enhanced.begin(), state.enhanced.end(), result.spectrum.data_ptr<float>() + done * spectra.size(1));
    std::copy(state.gains.begin(), state.gains.end(), result.gains.data_ptr<float>() + done * bands);
    ++done;
  }
  return result;
}

}  // namespace metavoice::models::deep_filter
