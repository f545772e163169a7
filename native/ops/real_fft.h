// Discrete Fourier transform of real signals of an even length, one at a time: a mixed-radix transform of half the length
// (Cooley & Tukey 1965), where libtorch would plan each short frame anew.
#pragma once

#include <cstdint>
#include <vector>

namespace metavoice::ops {

class RealFft {
 public:
  explicit RealFft(int64_t size);

  int64_t size() const { return 2 * half_; }
  int64_t bins() const { return half_ + 1; }

  // samples [size] -> spectrum [bins, 2], real and imaginary; unscaled
  void forward(const float* samples, float* spectrum) const;
  // spectrum [bins, 2] -> samples [size]; unscaled, so that forward and inverse together multiply by the size. The
  // imaginary parts of the first and the last bin mean nothing.
  void inverse(const float* spectrum, float* samples) const;

 private:
  struct Complex {
    float re, im;
  };
  static Complex times(Complex a, Complex b) { return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re}; }

  std::vector<Complex> transform(const std::vector<Complex>& in) const;
  void transform(const Complex* in, Complex* out, int64_t stride, size_t level, Complex* parts) const;
  void combine(Complex* out, int64_t radix, int64_t part, int64_t stride, Complex* parts) const;

  int64_t half_;
  std::vector<int64_t> radices_;     // their product is half_
  std::vector<Complex> turns_;       // exp(-2 pi i k / half_)
  std::vector<Complex> half_turns_;  // exp(-pi i k / half_), k = 0 … half_
};

}  // namespace metavoice::ops
