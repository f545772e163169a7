#include "core/error.h"

#include <ATen/ATen.h>
#include <doctest.h>

#include <new>

using metavoice::core::Error;

namespace {

template <class Failure>
Error translated(Failure&& failure) {
  try {
    failure();
  } catch (...) {
    return metavoice::core::translate(std::current_exception());
  }
  return Error("no failure", "");
}

}  // namespace

TEST_SUITE("core/error") {
  TEST_CASE("our own errors pass through unchanged") {
    const Error error = translated([] { throw Error("ERR_TEXT", "expected text", {{"found", "none"}}); });
    CHECK(error.code() == "ERR_TEXT");
    CHECK(std::string(error.what()) == "expected text");
    CHECK(error.details() == Error::Details{{"found", "none"}});
  }

  TEST_CASE("libtorch's become one line without a stack") {
    const Error error = translated([] { at::matmul(at::zeros({2, 3}), at::zeros({2, 3})); });
    CHECK(error.code() == "ERR_INTERNAL");
    const std::string message = error.what();
    CHECK(message.find("libtorch refused: mat1 and mat2") == 0);
    CHECK(message.find('\n') == std::string::npos);
    CHECK(message.find(".cpp") == std::string::npos);
  }

  TEST_CASE("memory that is not there is told apart") {
    CHECK(translated([] { throw std::bad_alloc(); }).code() == "ERR_OUT_OF_MEMORY");
    CHECK(translated([] { TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried"); }).code() == "ERR_OUT_OF_MEMORY");
    CHECK(translated([] { TORCH_CHECK(false, "DefaultCPUAllocator: can't allocate memory: you tried"); }).code() == "ERR_OUT_OF_MEMORY");
  }

  TEST_CASE("the CPU allocator's own refusal is one of memory") {
    // More than the address space holds, so it is refused on every machine and under every sanitizer.
    CHECK(translated([] { at::empty({int64_t{1} << 47}, at::kDouble); }).code() == "ERR_OUT_OF_MEMORY");
  }

  TEST_CASE("anything else keeps its words, or says that it has none") {
    CHECK(std::string(translated([] { throw std::runtime_error("first\nsecond"); }).what()) == "first");
    CHECK(translated([] { throw 7; }).code() == "ERR_INTERNAL");
  }

  TEST_CASE("a broken promise between floors names the promise") {
    CHECK_NOTHROW(metavoice::core::require(true, "nothing"));
    const Error error = translated([] { metavoice::core::require(false, "a promise"); });
    CHECK(error.code() == "ERR_INTERNAL");
    CHECK(std::string(error.what()) == "expected a promise");
  }
}
