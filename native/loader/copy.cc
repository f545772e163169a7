#include "loader/copy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "loader/cast.h"
#include "loader/copy_file.h"

namespace metavoice::loader {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

namespace {

constexpr size_t kBuffer = size_t{4} << 20;  // bytes read at once

size_t size_of(Number type) {
  switch (type) {
    case Number::float64: return 8;
    case Number::float32: return 4;
    default: return 2;
  }
}

const char* name_of(Number type) {
  switch (type) {
    case Number::float64: return "float64";
    case Number::float32: return "float32";
    case Number::float16: return "float16";
    default: return "bfloat16";
  }
}

constexpr auto kCrcTables = [] {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320u : 0u);
    tables[0][byte] = value;
  }
  for (size_t table = 1; table < 8; ++table)
    for (size_t byte = 0; byte < 256; ++byte)
      tables[table][byte] = (tables[table - 1][byte] >> 8) ^ tables[0][tables[table - 1][byte] & 255];
  return tables;
}();

// Eight bytes a step; `crc` starts and ends inverted.
uint32_t crc_more(uint32_t crc, const uint8_t* data, size_t length) {
  const auto& t = kCrcTables;
  for (; length >= 8; data += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, data, 8);
    word ^= crc;
    crc = t[7][word & 255] ^ t[6][(word >> 8) & 255] ^ t[5][(word >> 16) & 255] ^ t[4][(word >> 24) & 255] ^
          t[3][(word >> 32) & 255] ^ t[2][(word >> 40) & 255] ^ t[1][(word >> 48) & 255] ^ t[0][word >> 56];
  }
  for (; length > 0; ++data, --length) crc = (crc >> 8) ^ t[0][(crc ^ *data) & 255];
  return crc;
}

template <typename T>
T load(const uint8_t* data, size_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void store(uint8_t* data, size_t index, T value) {
  std::memcpy(data + index * sizeof(T), &value, sizeof(T));
}

double as_double(const uint8_t* data, Number type, size_t index) {
  switch (type) {
    case Number::float64: return load<double>(data, index);
    case Number::float32: return load<float>(data, index);
    case Number::float16: return float_from_half(load<uint16_t>(data, index));
    default: return float_from_bfloat(load<uint16_t>(data, index));
  }
}

template <typename Read>
bool cast_with(Read read, uint8_t* to, Number to_type, size_t count) {
  // Gives false where a number may have left the range of the target: the caller looks closer.
  uint32_t largest = 0;
  const auto note = [&largest](float value) {
    largest = std::max(largest, std::bit_cast<uint32_t>(value) & 0x7fffffffu);
    return value;
  };
  switch (to_type) {
    case Number::float16:
      for (size_t i = 0; i < count; ++i) store(to, i, half_from_float(note(read(i))));
      return largest <= 0x477fe000u;
    case Number::bfloat16:
      for (size_t i = 0; i < count; ++i) store(to, i, bfloat_from_float(note(read(i))));
      return largest < 0x7f7f8000u;
    default:
      for (size_t i = 0; i < count; ++i) store(to, i, note(read(i)));
      return largest < 0x7f800000u;
  }
}

bool cast(const uint8_t* from, Number from_type, uint8_t* to, Number to_type, size_t count) {
  if (from_type == to_type) {
    std::memcpy(to, from, count * size_of(from_type));
    return true;
  }
  switch (from_type) {
    case Number::float64:
      if (to_type == Number::float32)
        return cast_with([=](size_t i) { return static_cast<float>(load<double>(from, i)); }, to, to_type, count);
      return cast_with([=](size_t i) { return sticky_float_from_double(load<double>(from, i)); }, to, to_type, count);
    case Number::float32:
      return cast_with([=](size_t i) { return load<float>(from, i); }, to, to_type, count);
    case Number::float16:
      return cast_with([=](size_t i) { return float_from_half(load<uint16_t>(from, i)); }, to, to_type, count);
    default:
      return cast_with([=](size_t i) { return float_from_bfloat(load<uint16_t>(from, i)); }, to, to_type, count);
  }
}

bool overflows(double value, Number to) {
  const double magnitude = std::fabs(value);
  if (std::isnan(magnitude)) return false;
  if (to == Number::float16) return magnitude > 65504.0;
  if (std::isinf(magnitude)) return false;
  // From the middle between the largest number and the next power of two on, rounding gives infinity.
  return magnitude >= (to == Number::bfloat16 ? 0x1.ffp127 : 0x1.ffffffp127);
}

class Copier {
 public:
  Copier(const CopyJob& job, const std::atomic<bool>& cancelled, const std::function<void(uint64_t)>& progress)
      : cancelled_(cancelled), progress_(progress), destination_(CopyFile::for_writing(job.destination)) {
    in_.resize(kBuffer);
    out_.resize(kBuffer);
  }

  void copy(const CopyPiece& piece) {
    check(piece);
    elements_ = 1;
    for (const uint64_t size : piece.shape) elements_ *= size;
    if (elements_ == 0) return;
    piece_ = &piece;
    source_ = source(piece.source);
    if (piece.strides && !piece.shape.empty()) {
      std::vector<uint64_t> start(piece.shape.size(), 0);
      gather(start, piece.shape);
    } else {
      stream();
    }
  }

  void finish() {
    stop_if_cancelled();
    destination_.flush();
  }

 private:
  void stop_if_cancelled() const {
    if (cancelled_.load(std::memory_order_relaxed)) throw CopyError("ABORT_ERR", "the copy was cancelled");
  }

  [[noreturn]] void refuse(const std::string& why, const std::string& expected, const std::string& found) const {
    throw CopyError("ERR_CHECKPOINT", piece_->source + ": " + why,
                    {{"file", piece_->source}, {"tensor", piece_->name}, {"expected", expected}, {"found", found}});
  }

  void check(const CopyPiece& piece) const {
    const auto broken = [&](const char* what) {
      return CopyError("ERR_INTERNAL", piece.name + ": expected " + what);
    };
    if (piece.destination_type == Number::float64) throw broken("a destination of at most 32 bits");
    if (piece.strides && piece.strides->size() != piece.shape.size()) throw broken("one stride for each size");
    if (piece.strides && piece.crc32) throw broken("a checksum for contiguous tensors only");
    uint64_t elements = 1;
    uint64_t span = 1;
    for (size_t d = 0; d < piece.shape.size(); ++d) {
      if (piece.shape[d] > kMost || elements * std::max<uint64_t>(piece.shape[d], 1) > kMost)
        throw broken("fewer than 2^40 elements");
      elements *= std::max<uint64_t>(piece.shape[d], 1);
      if (!piece.strides) continue;
      const uint64_t stride = (*piece.strides)[d];
      if (stride > kMost) throw broken("strides below 2^40");
      span += (std::max<uint64_t>(piece.shape[d], 1) - 1) * std::min(stride, kMost);
      if (stride != 0 && piece.shape[d] > kMost / stride) throw broken("a span below 2^40 elements");
    }
    if (span > kMost) throw broken("a span below 2^40 elements");
  }

  CopyFile* source(const std::string& path) {
    auto& file = sources_[path];
    if (!file) file = std::make_unique<CopyFile>(CopyFile::for_reading(path));
    return file.get();
  }

  void read(uint64_t first_element, size_t count) {
    const size_t width = size_of(piece_->source_type);
    const uint64_t offset = piece_->source_offset + first_element * width;
    const size_t wanted = count * width;
    const size_t got = source_->read(in_.data(), wanted, offset);
    if (got == wanted) return;
    refuse("the file ends inside tensor " + piece_->name + "; it is truncated, get it again",
           std::to_string(offset + wanted) + " bytes", std::to_string(offset + got) + " bytes");
  }

  // Casts `count` elements of `from`, which begin at element `first` of the output, and writes them there.
  void write(const uint8_t* from, size_t count, uint64_t first) {
    const Number to = piece_->destination_type;
    if (!cast(from, piece_->source_type, out_.data(), to, count)) check_range(from, count);
    const size_t bytes = count * size_of(to);
    destination_.write(out_.data(), bytes, piece_->destination_offset + first * size_of(to));
    written_ += bytes;
  }

  void check_range(const uint8_t* from, size_t count) const {
    for (size_t i = 0; i < count; ++i) {
      const double value = as_double(from, piece_->source_type, i);
      if (!overflows(value, piece_->destination_type)) continue;
      const std::string type = name_of(piece_->destination_type);
      const std::string limit = piece_->destination_type == Number::float16 ? "65504" : "the range of " + type;
      char text[32];
      std::snprintf(text, sizeof text, "%g", value);
      refuse("tensor " + piece_->name + " holds " + text + ", which " + type +
                 " cannot hold; convert to a wider dtype (bfloat16 or float32)",
             "|w| <= " + limit, text);
    }
  }

  void stream() {
    const size_t width = size_of(piece_->source_type);
    const size_t batch = kBuffer / std::max<size_t>(width, size_of(piece_->destination_type));
    uint32_t crc = 0xffffffffu;
    for (uint64_t first = 0; first < elements_; first += batch) {
      stop_if_cancelled();
      const size_t count = static_cast<size_t>(std::min<uint64_t>(batch, elements_ - first));
      read(first, count);
      if (piece_->crc32) crc = crc_more(crc, in_.data(), count * width);
      write(in_.data(), count, first);
      progress_(written_);
    }
    if (piece_->crc32 && ~crc != *piece_->crc32)
      refuse("the numbers of tensor " + piece_->name + " do not match their checksum; the file is damaged, get it again",
             std::to_string(*piece_->crc32), std::to_string(~crc));
  }

  // Halves the dimension that reaches farthest until the block's span fits the buffer.
  void gather(std::vector<uint64_t>& start, const std::vector<uint64_t>& size) {
    const auto& strides = *piece_->strides;
    uint64_t span = 1;
    size_t widest = 0;
    uint64_t reach = 0;
    for (size_t d = 0; d < size.size(); ++d) {
      const uint64_t distance = (size[d] - 1) * strides[d];
      span += distance;
      if (distance > reach) reach = distance, widest = d;
    }
    if (span * size_of(piece_->source_type) <= kBuffer) return gather_block(start, size, span);
    std::vector<uint64_t> half = size;
    half[widest] = size[widest] / 2;
    gather(start, half);
    start[widest] += half[widest];
    half[widest] = size[widest] - half[widest];
    gather(start, half);
    start[widest] -= size[widest] - half[widest];
  }

  void gather_block(const std::vector<uint64_t>& start, const std::vector<uint64_t>& size, uint64_t span) {
    stop_if_cancelled();
    const auto& strides = *piece_->strides;
    const auto& shape = piece_->shape;
    uint64_t origin = 0;
    for (size_t d = 0; d < size.size(); ++d) origin += start[d] * strides[d];
    read(origin, static_cast<size_t>(span));

    // A run of the output is contiguous while the trailing dimensions are whole.
    const size_t width = size_of(piece_->source_type);
    const size_t batch = kBuffer / std::max<size_t>(width, size_of(piece_->destination_type));
    std::vector<uint64_t> index(size.size(), 0);
    row_.resize(kBuffer);
    size_t filled = 0;
    uint64_t run_first = 0;
    uint64_t next = UINT64_MAX;
    for (;;) {
      uint64_t from = 0;
      uint64_t to = 0;
      for (size_t d = 0; d < size.size(); ++d) {
        from += index[d] * strides[d];
        to = to * shape[d] + start[d] + index[d];
      }
      const size_t last = size.size() - 1;
      for (uint64_t i = 0; i < size[last]; ++i) {
        if (to + i != next || filled == batch) {
          if (filled > 0) write(row_.data(), filled, run_first), stop_if_cancelled();
          filled = 0;
          run_first = to + i;
        }
        std::memcpy(row_.data() + filled++ * width, in_.data() + (from + i * strides[last]) * width, width);
        next = to + i + 1;
      }
      size_t d = last;
      while (d > 0 && ++index[d - 1] == size[d - 1]) index[--d] = 0;
      if (d == 0) break;
    }
    if (filled > 0) write(row_.data(), filled, run_first);
    progress_(written_);
  }

  static constexpr uint64_t kMost = uint64_t{1} << 40;

  const std::atomic<bool>& cancelled_;
  const std::function<void(uint64_t)>& progress_;
  CopyFile destination_;
  std::map<std::string, std::unique_ptr<CopyFile>> sources_;
  std::vector<uint8_t> in_, out_, row_;
  const CopyPiece* piece_ = nullptr;
  CopyFile* source_ = nullptr;
  uint64_t elements_ = 0;
  uint64_t written_ = 0;
};

}  // namespace

std::optional<Number> number_named(const std::string& name) {
  for (const Number type : {Number::float64, Number::float32, Number::float16, Number::bfloat16})
    if (name == name_of(type)) return type;
  return std::nullopt;
}

void copy_tensors(const CopyJob& job, const std::atomic<bool>& cancelled,
                  const std::function<void(uint64_t)>& progress) {
  Copier copier(job, cancelled, progress);
  for (const CopyPiece& piece : job.pieces) copier.copy(piece);
  copier.finish();
}

}  // namespace metavoice::loader
