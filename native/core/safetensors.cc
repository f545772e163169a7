#include "core/safetensors.h"

#include <c10/util/Exception.h>

#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "core/error.h"

namespace metavoice::core {

namespace {

constexpr size_t kLargestHeader = size_t{16} << 20;  // as in lib/checkpoint/safetensors.ts
constexpr size_t kMostDimensions = 16;
constexpr int64_t kLargestElements = int64_t{1} << 40;

// Reads just the JSON that a safetensors header may hold: objects of objects of strings, integers and flat arrays.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& path) : text_(text), path_(path) {}

  [[noreturn]] void refuse(const std::string& why) const {
    throw Error("ERR_CHECKPOINT", path_ + " is not a sound safetensors file: " + why, {{"file", path_}});
  }

  void expect(char wanted) {
    if (!accept(wanted)) refuse(std::string("expected '") + wanted + "' at header byte " + std::to_string(at_));
  }

  bool accept(char wanted) {
    skip_space();
    if (at_ < text_.size() && text_[at_] == wanted) return ++at_, true;
    return false;
  }

  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }

  std::string string() {
    expect('"');
    std::string value;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\') {
        // Names hold no escapes but these; \u would need a decoder that nobody needs.
        if (++at_ == text_.size()) break;
        const char escaped = text_[at_];
        if (escaped == 'n') value += '\n';
        else if (escaped == 't') value += '\t';
        else if (escaped == '"' || escaped == '\\' || escaped == '/') value += escaped;
        else refuse("an escape that names don't use");
        ++at_;
      } else {
        value += text_[at_++];
      }
    }
    expect('"');
    return value;
  }

  int64_t integer() {
    skip_space();
    int64_t value = 0;
    const auto [end, failure] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value);
    if (failure != std::errc{} || value < 0) refuse("expected a natural number at header byte " + std::to_string(at_));
    at_ = static_cast<size_t>(end - text_.data());
    return value;
  }

  std::vector<int64_t> integers() {
    std::vector<int64_t> values;
    expect('[');
    if (accept(']')) return values;
    do {
      if (values.size() == kMostDimensions) refuse("a list of more numbers than tensors have dimensions");
      values.push_back(integer());
    } while (accept(','));
    expect(']');
    return values;
  }

 private:
  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }

  std::string_view text_;
  const std::string& path_;
  size_t at_ = 0;
};

const std::map<std::string, c10::ScalarType>& dtypes() {
  static const std::map<std::string, c10::ScalarType> table = {
      {"F64", c10::kDouble}, {"F32", c10::kFloat}, {"F16", c10::kHalf}, {"BF16", c10::kBFloat16}, {"I64", c10::kLong},
      {"I32", c10::kInt},    {"I16", c10::kShort}, {"I8", c10::kChar},  {"U8", c10::kByte},       {"BOOL", c10::kBool}};
  return table;
}

std::optional<c10::ScalarType> dtype_named(const std::string& name) {
  const auto found = dtypes().find(name);
  return found == dtypes().end() ? std::nullopt : std::optional(found->second);
}

StoredTensor read_entry(HeaderReader& header, const std::string& name, size_t data_start, size_t data_bytes) {
  StoredTensor tensor{c10::kFloat, {}, 0, 0};
  std::vector<int64_t> offsets;
  bool has_dtype = false, has_shape = false;
  header.expect('{');
  do {
    const std::string key = header.string();
    header.expect(':');
    if (key == "dtype") {
      const auto dtype = dtype_named(header.string());
      if (!dtype) header.refuse("tensor " + name + " has a dtype that is not known");
      tensor.dtype = *dtype;
      has_dtype = true;
    } else if (key == "shape") {
      tensor.shape = header.integers();
      has_shape = true;
    } else if (key == "data_offsets") {
      offsets = header.integers();
    } else {
      header.refuse("tensor " + name + " has the unknown field " + key);
    }
  } while (header.accept(','));
  header.expect('}');
  if (!has_dtype || !has_shape || offsets.size() != 2) header.refuse("tensor " + name + " is described in part only");

  int64_t elements = 1;
  for (const int64_t size : tensor.shape) {
    if (size != 0 && elements > kLargestElements / size) header.refuse("tensor " + name + " is larger than any file");
    elements *= size;
  }
  const auto begin = static_cast<size_t>(offsets[0]), end = static_cast<size_t>(offsets[1]);
  if (begin > end || end > data_bytes) header.refuse("tensor " + name + " lies outside the file");
  if (end - begin != static_cast<size_t>(elements) * c10::elementSize(tensor.dtype))
    header.refuse("tensor " + name + " has " + std::to_string(end - begin) + " bytes, which is not its shape");
  tensor.offset = data_start + begin;
  tensor.bytes = end - begin;
  return tensor;
}

void skip_metadata(HeaderReader& header) {
  header.expect('{');
  if (header.accept('}')) return;
  do {
    header.string();
    header.expect(':');
    header.string();
  } while (header.accept(','));
  header.expect('}');
}

}  // namespace

std::string name_of(c10::ScalarType dtype) {
  for (const auto& [name, known] : dtypes())
    if (known == dtype) return name;
  return c10::toString(dtype);
}

Safetensors Safetensors::open(const std::string& path) {
  Safetensors result{MappedFile::open(path), {}};
  const MappedFile& file = *result.file;
  uint64_t header_bytes = 0;
  if (file.size() >= sizeof(header_bytes)) std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  const size_t limit = file.size() < sizeof(header_bytes) ? 0 : file.size() - sizeof(header_bytes);
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + sizeof(header_bytes),
                              header_bytes <= limit ? header_bytes : 0);
  HeaderReader header(text, path);
  if (header_bytes == 0 || header_bytes > limit || header_bytes > kLargestHeader)
    header.refuse("its header claims " + std::to_string(header_bytes) + " bytes of a file of " + std::to_string(file.size()));

  const size_t data_start = sizeof(header_bytes) + header_bytes;
  header.expect('{');
  if (!header.accept('}')) {
    do {
      const std::string name = header.string();
      header.expect(':');
      if (name == "__metadata__") skip_metadata(header);
      else if (!result.tensors.emplace(name, read_entry(header, name, data_start, file.size() - data_start)).second)
        header.refuse("tensor " + name + " is there twice");
    } while (header.accept(','));
    header.expect('}');
  }
  if (!header.at_end()) header.refuse("its header goes on after its end");
  return result;
}

}  // namespace metavoice::core
