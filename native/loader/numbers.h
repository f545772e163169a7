// The numbers of checkpoints: their kinds, and runs of them cast from one kind to another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace metavoice::loader {

enum class Number { float64, float32, float16, bfloat16 };

// "float32" → Number::float32; nothing for other words.
std::optional<Number> number_named(const std::string& name);
const char* name_of(Number type);

// Bytes.
size_t size_of(Number type);

double as_double(const uint8_t* data, Number type, size_t index);

// Gives false where a number may have left the range of the target: the caller looks closer.
bool cast(const uint8_t* from, Number from_type, uint8_t* to, Number to_type, size_t count);

// Whether a finite number is beyond what a kind can hold; of float16, whether any but a NaN is.
bool overflows(double value, Number to);

}  // namespace metavoice::loader
