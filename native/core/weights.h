// Named scopes over a mapped safetensors file: scope("layers.3"), then tensor("attention.qkv.weight", {rows, columns}).
// The object tree of the networks is the tree of names; every shape is checked in one place, and names that nobody
// asked for are reported, so a wrong checkpoint is caught both ways.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/quantization.h"
#include "core/safetensors.h"

namespace metavoice::core {

// Where a network lives, the dtype of its matrices, and what those of its layers are held as.
struct Placement {
  at::Device device = at::kCPU;
  at::ScalarType dtype = at::kFloat;
  Quantization quantization = Quantization::none;
};

class Weights {
 public:
  // `any` in an expected shape accepts every size.
  static constexpr int64_t any = -1;

  static Weights open(const std::string& path, Placement placement);

  Weights scope(const std::string& name) const;
  bool has(const std::string& name) const;

  // In the placement's dtype. On the CPU, in the stored dtype, it is the mapped file itself.
  at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape) const;
  // In a dtype of its own, for what is always float32.
  at::Tensor tensor(const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const;
  // Undefined where the name is absent.
  at::Tensor optional(const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const;

  // As the file has it, on the CPU: the mapped file itself, whose pages are let go by `release`. ERR_CHECKPOINT where its
  // numbers are of another dtype; the first form takes all floating-point ones.
  at::Tensor stored(const std::string& name, const std::vector<int64_t>& shape) const;
  at::Tensor stored(const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const;
  void release(const std::string& name) const;
  // What was made of stored tensors, for `bytes_used`.
  void add_bytes(size_t bytes) const { shared_->bytes += bytes; }

  // Throws ERR_CHECKPOINT: "tensor NAME of FILE `what`".
  [[noreturn]] void refuse(const std::string& name, const std::string& what) const;

  // Whether two scopes hold the same names with the same shapes.
  bool same_shapes(const std::string& one, const std::string& other) const;

  const Placement& placement() const { return placement_; }
  size_t bytes_used() const;

  // Throws when the file holds tensors that no network asked for.
  void require_all_used() const;

 private:
  struct Shared {
    Safetensors file;
    std::set<std::string> used;
    size_t bytes = 0;
  };

  Weights(std::shared_ptr<Shared> shared, std::string prefix, Placement placement)
      : shared_(std::move(shared)), prefix_(std::move(prefix)), placement_(placement) {}

  // Without a dtype, floating-point numbers of any.
  const StoredTensor& find(const std::string& path, const std::vector<int64_t>& shape, std::optional<at::ScalarType> dtype = {}) const;
  at::Tensor mapped(const std::string& path, const StoredTensor& stored) const;

  std::shared_ptr<Shared> shared_;
  std::string prefix_;
  Placement placement_;
};

}  // namespace metavoice::core
