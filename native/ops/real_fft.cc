#include "ops/real_fft.h"

#include <cmath>
#include <numbers>

#include "core/error.h"

namespace metavoice::ops {

RealFft::RealFft(int64_t size) : half_(size / 2) {
  core::require(size >= 2 && size % 2 == 0, "a transform of an even length");
  int64_t rest = half_;
  for (int64_t radix : {4, 2, 3, 5})
    for (; rest % radix == 0; rest /= radix) radices_.push_back(radix);
  for (int64_t radix = 7; rest > 1; radix += 2)
    for (; rest % radix == 0; rest /= radix) radices_.push_back(radix);
  const auto turn = [this](int64_t k, double whole) {
    const double angle = -whole * std::numbers::pi * static_cast<double>(k) / static_cast<double>(half_);
    return Complex{static_cast<float>(std::cos(angle)), static_cast<float>(std::sin(angle))};
  };
  for (int64_t k = 0; k < half_; ++k) turns_.push_back(turn(k, 2));
  for (int64_t k = 0; k <= half_; ++k) half_turns_.push_back(turn(k, 1));
}

std::vector<RealFft::Complex> RealFft::transform(const std::vector<Complex>& in) const {
  std::vector<Complex> out(in.size()), parts(in.size());
  transform(in.data(), out.data(), 1, 0, parts.data());
  return out;
}

// Decimation in time: `radix` transforms of every radix-th number, then combined.
void RealFft::transform(const Complex* in, Complex* out, int64_t stride, size_t level, Complex* parts) const {
  if (stride == half_) {
    *out = *in;
    return;
  }
  const int64_t radix = radices_[level], part = half_ / stride / radix;
  for (int64_t r = 0; r < radix; ++r) transform(in + r * stride, out + r * part, stride * radix, level + 1, parts);
  combine(out, radix, part, stride, parts);
}

void RealFft::combine(Complex* out, int64_t radix, int64_t part, int64_t stride, Complex* parts) const {
  const auto plus = [](Complex a, Complex b) { return Complex{a.re + b.re, a.im + b.im}; };
  const auto minus = [](Complex a, Complex b) { return Complex{a.re - b.re, a.im - b.im}; };
  for (int64_t k = 0; k < part; ++k) {
    for (int64_t r = 0; r < radix; ++r) parts[r] = times(out[r * part + k], turns_[r * k * stride]);
    if (radix == 4) {
      const Complex a = plus(parts[0], parts[2]), b = minus(parts[0], parts[2]), c = plus(parts[1], parts[3]);
      const Complex d{parts[1].im - parts[3].im, parts[3].re - parts[1].re};  // -i (p1 - p3)
      out[k] = plus(a, c);
      out[part + k] = plus(b, d);
      out[2 * part + k] = minus(a, c);
      out[3 * part + k] = minus(b, d);
      continue;
    }
    for (int64_t q = 0; q < radix; ++q) {
      Complex sum = parts[0];
      for (int64_t r = 1; r < radix; ++r) sum = plus(sum, times(parts[r], turns_[(q * r % radix) * (half_ / radix)]));
      out[q * part + k] = sum;
    }
  }
}

// Even samples are the real parts, odd ones the imaginary parts of one signal of half the length.
void RealFft::forward(const float* samples, float* spectrum) const {
  std::vector<Complex> in(static_cast<size_t>(half_));
  for (int64_t k = 0; k < half_; ++k) in[k] = {samples[2 * k], samples[2 * k + 1]};
  const std::vector<Complex> out = transform(in);
  for (int64_t k = 0; k <= half_; ++k) {
    const Complex a = out[k % half_], b = out[(half_ - k) % half_];
    const Complex even{(a.re + b.re) / 2, (a.im - b.im) / 2}, odd{(a.im + b.im) / 2, (b.re - a.re) / 2};
    const Complex turned = times(odd, half_turns_[k]);
    spectrum[2 * k] = even.re + turned.re;
    spectrum[2 * k + 1] = even.im + turned.im;
  }
}

void RealFft::inverse(const float* spectrum, float* samples) const {
  std::vector<Complex> in(static_cast<size_t>(half_));
  const auto at = [&](int64_t k) { return Complex{spectrum[2 * k], k == 0 || k == half_ ? 0 : spectrum[2 * k + 1]}; };
  for (int64_t k = 0; k < half_; ++k) {
    const Complex a = at(k), b = at(half_ - k);
    const Complex even{a.re + b.re, a.im - b.im}, difference{a.re - b.re, a.im + b.im};
    const Complex odd = times(difference, {half_turns_[k].re, -half_turns_[k].im});
    // Conjugated, so that the forward transform is the inverse one.
    in[k] = {even.re - odd.im, -(even.im + odd.re)};
  }
  const std::vector<Complex> out = transform(in);
  for (int64_t k = 0; k < half_; ++k) {
    samples[2 * k] = out[k].re;
    samples[2 * k + 1] = -out[k].im;
  }
}

}  // namespace metavoice::ops
