#include "ops/decode_kernels.h"

#include <doctest.h>

#include <filesystem>
#include <string>

#include "support/compare.h"

using metavoice::ops::DecodeKernels;
using metavoice::ops::decode_dtype;
using metavoice::ops::open_decode_kernels;
using metavoice::testing::check_refused;

TEST_SUITE_BEGIN("ops/decode_kernels");

TEST_CASE("there are none where no library is, or one that is something else") {
  CHECK(open_decode_kernels("/nowhere/libmetavoice_cuda.so") == nullptr);
  const auto file = std::filesystem::temp_directory_path() / "metavoice-no-library.so";
  CHECK(open_decode_kernels(file.string()) == nullptr);
#ifdef __linux__
  CHECK(open_decode_kernels("libc.so.6") == nullptr);
#endif
}

TEST_CASE("know the dtypes of the language models, and no other") {
  CHECK(decode_dtype(at::kFloat) == METAVOICE_FLOAT32);
  CHECK(decode_dtype(at::kHalf) == METAVOICE_FLOAT16);
  CHECK(decode_dtype(at::kBFloat16) == METAVOICE_BFLOAT16);
  CHECK(decode_dtype(at::kDouble) == -1);
}

TEST_CASE("a call that failed is an error, of memory or of the engine") {
  DecodeKernels kernels{};
  kernels.explain = [](int failure) -> const char* { return failure == 2 ? "out of memory" : "an illegal address"; };
  kernels.check(0, "a step");
  check_refused([&] { kernels.check(2, "a step"); }, "ERR_OUT_OF_MEMORY", "a step: out of memory");
  check_refused([&] { kernels.check(700, "a step"); }, "ERR_INTERNAL", "a step: an illegal address");
}

TEST_SUITE_END();
