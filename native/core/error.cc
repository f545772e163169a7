#include "core/error.h"

#include <c10/util/Exception.h>

#include <new>

namespace metavoice::core {

namespace {

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

bool speaks_of_memory(const std::string& text) {
  return text.find("out of memory") != std::string::npos || text.find("can't allocate memory") != std::string::npos ||
         text.find("not enough memory") != std::string::npos;
}

}  // namespace

Error translate(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    return error;
  } catch (const c10::OutOfMemoryError& error) {
    return Error("ERR_OUT_OF_MEMORY", "the device ran out of memory: " + first_line(error.what_without_backtrace()));
  } catch (const c10::Error& error) {
    const std::string words = first_line(error.what_without_backtrace());
    return Error(speaks_of_memory(words) ? "ERR_OUT_OF_MEMORY" : "ERR_INTERNAL", "libtorch refused: " + words);
  } catch (const std::bad_alloc&) {
    return Error("ERR_OUT_OF_MEMORY", "the machine ran out of memory");
  } catch (const std::exception& error) {
    return Error("ERR_INTERNAL", first_line(error.what()));
  } catch (...) {
    return Error("ERR_INTERNAL", "an unknown exception");
  }
}

}  // namespace metavoice::core
