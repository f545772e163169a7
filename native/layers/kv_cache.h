// Keys and values of the positions already seen, per layer, in the model's dtype. Appending writes in place and reading
// is a view of the used part: nothing is cloned and nothing past the position is ever read.
#pragma once

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "core/error.h"

namespace metavoice::layers {

class KvCache {
 public:
  // On the CPU, pages of the capacity that are never written are never resident.
  KvCache(int64_t layers, int64_t rows, int64_t heads, int64_t capacity, int64_t head_width, at::TensorOptions options)
      : capacity_(capacity) {
    for (int64_t i = 0; i < layers; ++i) {
      keys_.push_back(at::empty({rows, heads, capacity, head_width}, options));
      values_.push_back(at::empty({rows, heads, capacity, head_width}, options));
    }
  }

  int64_t length() const { return length_; }
  int64_t capacity() const { return capacity_; }

  // keys, values [rows, heads, positions, head width] go behind what is there; the views of all of it come back.
  std::pair<at::Tensor, at::Tensor> append(int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
    const int64_t positions = keys.size(2);
    core::require(length_ + positions <= capacity_, "a key-value cache with room for the positions");
    keys_[layer].narrow(2, length_, positions).copy_(keys);
    values_[layer].narrow(2, length_, positions).copy_(values);
    return {keys_[layer].narrow(2, 0, length_ + positions), values_[layer].narrow(2, 0, length_ + positions)};
  }

  // After the last layer has appended.
  void advance(int64_t positions) { length_ += positions; }

 private:
  int64_t capacity_;
  int64_t length_ = 0;
  std::vector<at::Tensor> keys_;    // [rows, heads, capacity, head width]
  std::vector<at::Tensor> values_;  // [rows, heads, capacity, head width]
};

}  // namespace metavoice::layers
