#include "core/weights.h"

#include <ATen/ATen.h>

#include <map>
#include <sstream>

#include "core/error.h"

namespace metavoice::core {

namespace {

std::string describe(const std::vector<int64_t>& shape) {
  std::ostringstream out;
  out << '[';
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) out << ", ";
    if (shape[i] == Weights::any) out << "any";
    else out << shape[i];
  }
  out << ']';
  return out.str();
}

bool fits(const std::vector<int64_t>& found, const std::vector<int64_t>& expected) {
  if (found.size() != expected.size()) return false;
  for (size_t i = 0; i < found.size(); ++i)
    if (expected[i] != Weights::any && found[i] != expected[i]) return false;
  return true;
}

// float16 ends at 65,504: beyond it weights would become infinite. What is not finite in the file is no matter of dtype.
void require_within_half(const at::Tensor& half, const at::Tensor& stored, const std::string& file, const std::string& name) {
  const auto finite = [](const at::Tensor& tensor) { return tensor.isfinite().all().item<bool>(); };
  if (finite(half) || !finite(stored)) return;
  throw Error("ERR_CHECKPOINT",
              "tensor " + name + " of " + file + " holds numbers beyond float16 (|w| > 65504); use dtype bfloat16 or float32",
              {{"file", file}, {"tensor", name}, {"expected", "|w| <= 65504"}});
}

}  // namespace

Weights Weights::open(const std::string& path, Placement placement) {
  auto shared = std::make_shared<Shared>();
  shared->file = Safetensors::open(path);
  return Weights(std::move(shared), "", placement);
}

Weights Weights::scope(const std::string& name) const { return Weights(shared_, prefix_ + name + ".", placement_); }

bool Weights::has(const std::string& name) const { return shared_->file.tensors.contains(prefix_ + name); }

bool Weights::same_shapes(const std::string& one, const std::string& other) const {
  const auto shapes = [this](const std::string& scope) {
    const std::string prefix = prefix_ + scope + ".";
    std::map<std::string, std::vector<int64_t>> result;
    for (const auto& [name, stored] : shared_->file.tensors)
      if (name.starts_with(prefix)) result.emplace(name.substr(prefix.size()), stored.shape);
    return result;
  };
  return shapes(one) == shapes(other);
}

size_t Weights::bytes_used() const { return shared_->bytes; }

const StoredTensor& Weights::find(const std::string& path, const std::vector<int64_t>& shape, std::optional<at::ScalarType> dtype) const {
  const std::string& file = shared_->file.file->path();
  const auto found = shared_->file.tensors.find(path);
  if (found == shared_->file.tensors.end())
    throw Error("ERR_CHECKPOINT", file + " has no tensor " + path + "; convert the model again",
                {{"file", file}, {"tensor", path}, {"expected", describe(shape)}});
  // First the dtype: what is quantised has another shape, too, and that would tell less.
  const at::ScalarType stored = found->second.dtype;
  if (dtype ? stored != *dtype : !c10::isFloatingType(stored)) {
    const std::string wanted = dtype ? name_of(*dtype) : "floating-point";
    throw Error("ERR_CHECKPOINT",
                "expected tensor " + path + " of " + file + " to hold " + wanted + " numbers but found " + name_of(stored),
                {{"file", file}, {"tensor", path}, {"expected", wanted}, {"found", name_of(stored)}});
  }
  if (!fits(found->second.shape, shape))
    throw Error("ERR_CHECKPOINT",
                "expected tensor " + path + " of " + file + " to be " + describe(shape) + " but found " +
                    describe(found->second.shape),
                {{"file", file}, {"tensor", path}, {"expected", describe(shape)}, {"found", describe(found->second.shape)}});
  return found->second;
}

at::Tensor Weights::tensor(const std::string& name, const std::vector<int64_t>& shape) const {
  return tensor(name, shape, placement_.dtype);
}

at::Tensor Weights::tensor(const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const {
  const std::string path = prefix_ + name;
  const StoredTensor& stored = find(path, shape);
  const bool first = !shared_->used.contains(path);
  const at::Tensor found = mapped(path, stored);
  if (first) add_bytes(found.numel() * c10::elementSize(dtype));
  const at::Tensor placed = found.to(placement_.device, dtype);
  const auto& file = shared_->file.file;
  if (dtype == at::kHalf && stored.dtype != at::kHalf) require_within_half(placed, found, file->path(), path);
  if (placed.const_data_ptr() != found.const_data_ptr()) file->release(stored.offset, stored.bytes);
  return placed;
}

at::Tensor Weights::mapped(const std::string& path, const StoredTensor& stored) const {
  const auto file = shared_->file.file;
  file->populate(stored.offset, stored.bytes);
  auto* data = const_cast<std::byte*>(file->data() + stored.offset);
  const at::Tensor found = at::from_blob(
      data, stored.shape, [file](void*) {}, at::TensorOptions().dtype(stored.dtype));
  shared_->used.insert(path);
  // Kernels rely on aligned elements; a file of ours is aligned to 64 bytes, a foreign one may not be.
  return reinterpret_cast<uintptr_t>(data) % c10::elementSize(stored.dtype) != 0 ? found.clone() : found;
}

at::Tensor Weights::stored(const std::string& name, const std::vector<int64_t>& shape) const {
  return mapped(prefix_ + name, find(prefix_ + name, shape));
}

at::Tensor Weights::stored(const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const {
  return mapped(prefix_ + name, find(prefix_ + name, shape, dtype));
}

void Weights::release(const std::string& name) const {
  const StoredTensor& stored = shared_->file.tensors.at(prefix_ + name);
  shared_->file.file->release(stored.offset, stored.bytes);
}

void Weights::refuse(const std::string& name, const std::string& what) const {
  const std::string& file = shared_->file.file->path();
  throw Error("ERR_CHECKPOINT", "tensor " + prefix_ + name + " of " + file + " " + what, {{"file", file}, {"tensor", prefix_ + name}});
}

at::Tensor Weights::optional(const std::string& name, const std::vector<int64_t>& shape, at::ScalarType dtype) const {
  return has(name) ? tensor(name, shape, dtype) : at::Tensor();
}

void Weights::require_all_used() const {
  for (const auto& [name, stored] : shared_->file.tensors) {
    if (shared_->used.contains(name)) continue;
    const std::string& file = shared_->file.file->path();
    throw Error("ERR_CHECKPOINT", file + " holds the tensor " + name + " that no network of ours asks for",
                {{"file", file}, {"tensor", name}, {"found", describe(stored.shape)}});
  }
}

}  // namespace metavoice::core
