#include "loader/numbers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "loader/cast.h"

namespace metavoice::loader {

namespace {

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

}  // namespace

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

std::optional<Number> number_named(const std::string& name) {
  for (const Number type : {Number::float64, Number::float32, Number::float16, Number::bfloat16})
    if (name == name_of(type)) return type;
  return std::nullopt;
}

double as_double(const uint8_t* data, Number type, size_t index) {
  switch (type) {
    case Number::float64: return load<double>(data, index);
    case Number::float32: return load<float>(data, index);
    case Number::float16: return float_from_half(load<uint16_t>(data, index));
    default: return float_from_bfloat(load<uint16_t>(data, index));
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

}  // namespace metavoice::loader
