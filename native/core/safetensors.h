// The safetensors container (https://github.com/huggingface/safetensors): 8 bytes of header length, a JSON header,
// then the tensors. Every offset is checked against the file before anybody reads it.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/mapped_file.h"

namespace metavoice::core {

struct StoredTensor {
  c10::ScalarType dtype;
  std::vector<int64_t> shape;
  size_t offset;  // from the start of the file
  size_t bytes;
};

struct Safetensors {
  std::shared_ptr<const MappedFile> file;
  std::map<std::string, StoredTensor> tensors;

  static Safetensors open(const std::string& path);
};

// As the format names it: `BF16`, `I8`.
std::string name_of(c10::ScalarType dtype);

}  // namespace metavoice::core
