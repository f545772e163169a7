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
      : shape_{rows, heads, capacity, head_width},
        options_(options),
        keys_(static_cast<size_t>(layers)),
        values_(static_cast<size_t>(layers)) {
    for (auto* side : {&keys_, &values_})
      for (at::Tensor& tensor : *side) tensor = at::empty(shape_, options_);
  }

  int64_t length() const { return length_; }
  int64_t layers() const { return static_cast<int64_t>(keys_.size()); }
  int64_t rows() const { return shape_[0]; }
  int64_t capacity() const { return shape_[2]; }
  at::ScalarType dtype() const { return options_.dtype().toScalarType(); }
  // Whether it forgot everything once, so that positions may be others than they were.
  bool restarted() const { return restarted_; }

  // keys, values [rows, heads, positions, head width] go behind what is there; the views of all of it come back.
  std::pair<at::Tensor, at::Tensor> append(int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
    const int64_t positions = keys.size(2);
    core::require(length_ + positions <= capacity(), "a key-value cache with room for the positions");
    if (keys.scalar_type() == at::kFloat && dtype() == at::kHalf && !(fits_half(keys) && fits_half(values))) widen();
    keys_[layer].narrow(2, length_, positions).copy_(keys);
    values_[layer].narrow(2, length_, positions).copy_(values);
    return {keys_[layer].narrow(2, 0, length_ + positions), values_[layer].narrow(2, 0, length_ + positions)};
  }

  // keys, values [rows, heads, length, head width] of one layer.
  std::pair<at::Tensor, at::Tensor> view(int64_t layer) const {
    return {keys_[layer].narrow(2, 0, length_), values_[layer].narrow(2, 0, length_)};
  }

  // After the last layer has appended.
  void advance(int64_t positions) { length_ += positions; }

  // Forgets the last positions, which are about to be computed again.
  void rewind(int64_t positions) { length_ -= positions; }

  // Room for more positions; what is there stays.
  void grow(int64_t capacity) {
    if (capacity <= shape_[2]) return;
    shape_[2] = capacity;
    for (auto* side : {&keys_, &values_})
      for (at::Tensor& tensor : *side) {
        at::Tensor larger = at::empty(shape_, options_);
        larger.narrow(2, 0, length_).copy_(tensor.narrow(2, 0, length_));
        tensor = std::move(larger);
      }
  }

  // Forgets everything and goes on in float32. The old memory goes first.
  void restart_in_float32() {
    options_ = options_.dtype(at::kFloat);
    length_ = 0;
    restarted_ = true;
    for (auto* side : {&keys_, &values_})
      for (at::Tensor& tensor : *side) {
        tensor = at::Tensor();
        tensor = at::empty(shape_, options_);
      }
  }

 private:
  static bool fits_half(const at::Tensor& values) { return values.abs().max().item<float>() <= 65504.0F; }

  // Numbers beyond float16 came: everything goes on in float32, layer by layer. Positions being appended stay, too.
  void widen() {
    options_ = options_.dtype(at::kFloat);
    for (auto* side : {&keys_, &values_})
      for (at::Tensor& tensor : *side) tensor = tensor.to(at::kFloat);
  }

  std::vector<int64_t> shape_;  // rows, heads, capacity, head width
  at::TensorOptions options_;
  int64_t length_ = 0;
  bool restarted_ = false;
  std::vector<at::Tensor> keys_;    // per layer
  std::vector<at::Tensor> values_;
};

}  // namespace metavoice::layers
