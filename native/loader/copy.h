// Casts tensors from checkpoint files into a model file in small buffers: no torch, no Node, no mapping, so that a file
// of several GB passes through a few MB of memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "loader/numbers.h"

namespace metavoice::loader {

struct CopyPiece {
  std::string name;
  std::string source;
  uint64_t source_offset = 0;  // bytes
  Number source_type = Number::float32;
  uint64_t destination_offset = 0;  // bytes
  Number destination_type = Number::float32;
  std::vector<uint64_t> shape;
  std::optional<std::vector<uint64_t>> strides;  // in elements; none: contiguous
  std::optional<uint32_t> crc32;                 // of the source bytes; contiguous pieces only
};

struct CopyJob {
  std::string destination;
  std::vector<CopyPiece> pieces;
};

// `code` is a code of lib/errors.ts, ABORT_ERR, or the name of an errno.
struct CopyError : std::runtime_error {
  using Details = std::vector<std::pair<std::string, std::string>>;

  CopyError(std::string code, const std::string& message, Details details = {})
      : std::runtime_error(message), code(std::move(code)), details(std::move(details)) {}

  std::string code;
  Details details;
};

// Writes every piece and flushes. `progress` gets the bytes written so far, from the calling thread, after each buffer.
// The destination must exist. Throws CopyError; `cancelled` is read before each buffer.
void copy_tensors(const CopyJob& job, const std::atomic<bool>& cancelled,
                  const std::function<void(uint64_t)>& progress);

}  // namespace metavoice::loader
