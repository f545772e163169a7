#include "models/diffusion/reference_equalizer.h"

#include <algorithm>

#include "core/error.h"

namespace metavoice::models::diffusion {

namespace {

// Bands of a long signal are many numbers: they are made of so many samples at a time.
constexpr int64_t kPiece = 1 << 16;

at::Tensor moments_of(const at::Tensor& bands) {
  const at::Tensor exact = bands.to(at::kDouble);
  return at::stack({exact.sum(1), exact.square().sum(1)});
}

}  // namespace

void ReferenceEqualizer::measure(Levels& levels, const at::Tensor& signal, const at::Tensor& reference) const {
  core::require(signal.sizes() == reference.sizes(), "a reference as long as the signal");
  const int64_t samples = signal.size(0) - 2 * half();
  for (int64_t first = 0; first < samples; first += kPiece) {
    const int64_t extended = std::min(kPiece, samples - first) + 2 * half();
    const at::Tensor moments = at::stack({moments_of(ops::split_bands(signal.narrow(0, first, extended), filters_)),
                                          moments_of(ops::split_bands(reference.narrow(0, first, extended), filters_))});
    levels.moments = levels.moments.defined() ? levels.moments + moments : moments;
  }
  levels.samples += samples;
}

at::Tensor ReferenceEqualizer::apply(const Levels& levels, const at::Tensor& signal) const {
  core::require(levels.samples > 0, "levels that were measured");
  const at::Tensor sums = levels.moments.select(1, 0), squares = levels.moments.select(1, 1);
  const at::Tensor spread = (squares - sums.square() / static_cast<double>(levels.samples)).clamp_min(0);
  const at::Tensor found = spread[0], wanted = spread[1];
  // What has no level at all cannot be given one.
  const at::Tensor gains = at::where(found > 0, at::sqrt(wanted / found), at::ones_like(found));
  return ops::apply_filter(signal, ops::gain_filter(gains, filters_));
}

at::Tensor ReferenceEqualizer::equalize(const at::Tensor& signal, const at::Tensor& reference) const {
  const at::Tensor extended = ops::extend_ends(signal, half());
  Levels levels;
  measure(levels, extended, ops::extend_ends(reference, half()));
  return apply(levels, extended);
}

}  // namespace metavoice::models::diffusion
