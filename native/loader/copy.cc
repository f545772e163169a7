#include "loader/copy.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "loader/copy_file.h"
#include "loader/crc32.h"

namespace metavoice::loader {

namespace {

constexpr size_t kBuffer = size_t{4} << 20;  // bytes read at once

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

void copy_tensors(const CopyJob& job, const std::atomic<bool>& cancelled,
                  const std::function<void(uint64_t)>& progress) {
  Copier copier(job, cancelled, progress);
  for (const CopyPiece& piece : job.pieces) copier.copy(piece);
  copier.finish();
}

}  // namespace metavoice::loader
