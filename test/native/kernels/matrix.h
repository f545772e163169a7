// A matrix with random numbers in one of the forms that the kernels take, and what its numbers mean.
#pragma once

#include <cmath>
#include <memory>

#include "memory.h"

namespace metavoice::testing {

class Matrix {
 public:
  Matrix(int dtype, int weights, int64_t out, int64_t in, Random& random, float deviation)
      : weights_(weights), in_(in), numbers_(weights == METAVOICE_WHOLE ? dtype : kBytes, weights == METAVOICE_INT4 ? out * in / 2 : out * in) {
    if (weights == METAVOICE_WHOLE) {
      numbers_.fill(random, deviation);
      return;
    }
    for (uint8_t& byte : numbers_.bytes()) byte = static_cast<uint8_t>(random.bits() >> 11);
    numbers_.upload();
    if (weights == METAVOICE_INT8) {
      scales_ = std::make_unique<Array>(METAVOICE_FLOAT32, out);
      scales_->fill(random, deviation / 300, deviation / 74);
    } else {
      scales_ = std::make_unique<Array>(dtype, out * (in / 128) * 2);
      for (int64_t i = 0; i < scales_->count(); i += 2) {
        scales_->set(i, deviation / 4.6F * (1 + 0.2F * random.normal()));
        scales_->set(i + 1, 0.3F * deviation * random.normal());
      }
      scales_->upload();
    }
  }

  MetavoiceMatrix device() const { return {numbers_.device(), scales_ ? scales_->device() : nullptr}; }

  // Number `at` of the matrix as it is meant, by the words of the kernels' header.
  double get(int64_t at) const {
    if (weights_ == METAVOICE_WHOLE) return numbers_.get(at);
    const int64_t row = at / in_, i = at % in_, of32 = i % 32, t = of32 / 8, number = of32 % 8;
    if (weights_ == METAVOICE_INT8) {
      const int64_t byte = row * in_ + i / 64 * 64 + 16 * t + i % 64 / 32 * 8 + number;
      return static_cast<int8_t>(numbers_.bytes()[static_cast<size_t>(byte)]) * scales_->get(row);
    }
    const int64_t word = (row * in_ + i / 128 * 128) / 8 + 4 * t + i % 128 / 32;
    uint32_t bits = 0;
    std::memcpy(&bits, numbers_.bytes().data() + word * 4, 4);
    const int q = static_cast<int>(bits >> (number % 2 * 16 + number / 2 * 4) & 15);
    const int64_t group = row * (in_ / 128) + i / 128;
    return (q - 8) * scales_->get(2 * group) + scales_->get(2 * group + 1);
  }

 private:
  int weights_;
  int64_t in_;
  Array numbers_;
  std::unique_ptr<Array> scales_;
};

}  // namespace metavoice::testing
