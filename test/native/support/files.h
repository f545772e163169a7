// Files of the tests: a folder of its own per object, and safetensors written from tensors.
#pragma once

#include <ATen/ATen.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace metavoice::testing {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count{0};
    path_ = std::filesystem::temp_directory_path() /
            ("metavoice-tests-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

using Tensors = std::map<std::string, at::Tensor>;

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// A safetensors file as bytes: the length of the header, the header, the data.
inline std::string container(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  return bytes + header + data;
}

inline std::string stored_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return "F32";
    case at::kHalf: return "F16";
    case at::kBFloat16: return "BF16";
    case at::kLong: return "I64";
    case at::kInt: return "I32";
    case at::kChar: return "I8";
    default: return "U8";
  }
}

inline std::string to_safetensors(const Tensors& tensors) {
  std::string header = "{", data;
  for (const auto& [name, tensor] : tensors) {
    const at::Tensor stored = tensor.contiguous();
    std::string shape;
    for (const int64_t size : stored.sizes()) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    const size_t begin = data.size();
    data.append(static_cast<const char*>(stored.const_data_ptr()), stored.nbytes());
    header += (header.size() > 1 ? ",\"" : "\"") + name + "\":{\"dtype\":\"" + stored_name(stored.scalar_type()) +
              "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(data.size()) + "]}";
  }
  header += '}';
  while ((header.size() + 8) % 64 != 0) header += ' ';
  return container(header, data);
}

inline void write_safetensors(const std::string& path, const Tensors& tensors) { write_bytes(path, to_safetensors(tensors)); }

}  // namespace metavoice::testing
