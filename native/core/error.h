// The one exception of the native floors. `code` is a code of lib/errors.ts; the message says what was expected, what
// was found and what to do. Nothing below the binding prints or aborts.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace metavoice::core {

class Error : public std::runtime_error {
 public:
  using Details = std::vector<std::pair<std::string, std::string>>;

  Error(std::string code, const std::string& message, Details details = {})
      : std::runtime_error(message), code_(std::move(code)), details_(std::move(details)) {}

  const std::string& code() const { return code_; }
  const Details& details() const { return details_; }

 private:
  std::string code_;
  Details details_;
};

// A promise between our own floors that does not hold.
inline void require(bool holds, const char* promise) {
  if (!holds) throw Error("ERR_INTERNAL", std::string("expected ") + promise);
}

// Any exception, libtorch's included, as one of ours: called once, where native work meets the outside.
Error translate(const std::exception_ptr& failure);

}  // namespace metavoice::core
