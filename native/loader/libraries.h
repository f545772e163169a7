// Opening shared libraries by absolute path, globally visible, once for the process.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace metavoice::loader {

struct OpenError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// In order; a library that is open already is left alone. Throws OpenError with the loader's words, or when this process
// already uses another copy of one of them: two copies of libtorch in one process break each other.
void open_libraries(const std::vector<std::string>& paths);

// A symbol of a library that is kept to itself. Throws OpenError.
void* open_symbol(const std::string& path, const char* name);

}  // namespace metavoice::loader
