#include "core/weights.h"

#include <doctest.h>

#include <limits>

#include "core/quantization.h"
#include "support/compare.h"
#include "support/files.h"

using namespace metavoice;
using namespace metavoice::testing;
using core::Weights;

namespace {

struct Stored {
  TemporaryFolder folder;
  std::string path = folder.file("some.safetensors");
  at::Tensor matrix = at::arange(6, at::kFloat).view({2, 3});
  at::Tensor half = at::tensor({1.5F, -2.25F}).to(at::kHalf);

  Stored() { write_safetensors(path, {{"layers.0.weight", matrix}, {"layers.0.bias", half}, {"top", matrix}}); }
  Weights open(core::Placement placement = {}) const { return Weights::open(path, placement); }
};

}  // namespace

TEST_SUITE("core/weights") {
  TEST_CASE("refuses a name that is absent, and says the file and what was expected") {
    const Stored stored;
    const Weights weights = stored.open();
    check_refused([&] { weights.scope("layers.1").tensor("weight", {2, Weights::any}); }, "ERR_CHECKPOINT", "no tensor layers.1.weight");
    const core::Error error = refusal([&] { weights.scope("layers.1").tensor("weight", {2, Weights::any}); });
    CHECK(error.details() == core::Error::Details{{"file", stored.path}, {"tensor", "layers.1.weight"}, {"expected", "[2, any]"}});
  }

  TEST_CASE("two scopes are alike in names and shapes, or not") {
    const TemporaryFolder folder;
    const at::Tensor row = at::ones({3});
    write_safetensors(folder.file("some"), {{"a.x", row}, {"a.y", row}, {"b.x", row}, {"b.y", row * 2}, {"c.x", row}, {"d.x", row}, {"d.y", at::ones({4})}});
    const Weights weights = Weights::open(folder.file("some"), {});
    CHECK(weights.same_shapes("a", "b"));
    CHECK_FALSE(weights.same_shapes("a", "c"));
    CHECK_FALSE(weights.same_shapes("a", "d"));
  }

  TEST_CASE("refuses a shape, and says both") {
    const Stored stored;
    const Weights weights = stored.open();
    check_refused([&] { weights.tensor("top", {3, 2}); }, "ERR_CHECKPOINT", "to be [3, 2] but found [2, 3]");
    check_refused([&] { weights.tensor("top", {6}); }, "ERR_CHECKPOINT", "to be [6] but found [2, 3]");
    check_refused([&] { weights.tensor("top", {Weights::any, 4}); }, "ERR_CHECKPOINT", "to be [any, 4] but found [2, 3]");
    check_refused([&] { weights.optional("top", {2}, at::kFloat); }, "ERR_CHECKPOINT", "to be [2] but found [2, 3]");
    CHECK(refusal([&] { weights.tensor("top", {}); }).details().at(3).second == "[2, 3]");
  }

  TEST_CASE("refuses a file of which something was never asked for, and names it") {
    const Stored stored;
    const Weights weights = stored.open();
    weights.scope("layers.0").tensor("weight", {2, 3});
    weights.tensor("top", {2, 3});
    check_refused([&] { weights.require_all_used(); }, "ERR_CHECKPOINT", "layers.0.bias that no network");
    weights.scope("layers").scope("0").optional("bias", {2}, at::kFloat);
    CHECK_NOTHROW(weights.require_all_used());
  }

  TEST_CASE("gives the mapped file itself where dtype and device are those stored") {
    const Stored stored;
    const Weights weights = stored.open();
    const at::Tensor first = weights.tensor("top", {2, 3}), second = weights.tensor("top", {2, 3});
    check_equal(first, stored.matrix, "mapped");
    CHECK(first.const_data_ptr() == second.const_data_ptr());
    CHECK(weights.tensor("top", {2, 3}, at::kDouble).const_data_ptr() != first.const_data_ptr());
  }

  TEST_CASE("keeps the mapping as long as a tensor of it lives") {
    const Stored stored;
    at::Tensor kept;
    {
      const Weights weights = stored.open();
      kept = weights.tensor("top", {2, 3});
    }
    check_equal(kept, stored.matrix, "after the scopes are gone");
  }

  TEST_CASE("casts to the placement's dtype, or to one of its own, on every device") {
    for (const at::Device& device : devices()) {
      CAPTURE(device.str());
      const Stored stored;
      for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
        const Weights weights = stored.open({device, dtype});
        const at::Tensor cast = weights.tensor("layers.0.bias", {2});
        CHECK((cast.scalar_type() == dtype));
        CHECK(cast.device().type() == device.type());
        check_equal(cast, stored.half, "cast");
        CHECK((weights.tensor("layers.0.bias", {2}, at::kFloat).scalar_type() == at::kFloat));
      }
    }
  }

  TEST_CASE("counts the bytes of each tensor once, in the dtype it is used in") {
    const Stored stored;
    const Weights weights = stored.open({at::kCPU, at::kBFloat16});
    CHECK(weights.bytes_used() == 0);
    weights.tensor("top", {2, 3});
    weights.tensor("top", {2, 3});
    CHECK(weights.bytes_used() == 12);
    weights.scope("layers.0").tensor("weight", {2, 3}, at::kFloat);
    CHECK(weights.bytes_used() == 36);
  }

  TEST_CASE("has the quantisation that it was placed with, in every scope") {
    const Stored stored;
    CHECK((stored.open({}).placement().quantization == core::Quantization::none));
    const Weights weights = stored.open({at::kCPU, at::kFloat, core::Quantization::int4});
    CHECK((weights.scope("layers.0").placement().quantization == core::Quantization::int4));
  }

  TEST_CASE("gives what is stored as it is, where it is of the dtype that is expected") {
    const TemporaryFolder folder;
    const at::Tensor bytes = at::tensor({-128, 0, 127}, at::kChar), nibbles = at::tensor({255, 16}, at::kByte), scales = at::tensor({0.5F, -2.0F}).to(at::kBFloat16);
    write_safetensors(folder.file("stored"), {{"a.bytes", bytes}, {"a.nibbles", nibbles}, {"a.scales", scales}});
    const Weights weights = Weights::open(folder.file("stored"), {at::kCPU, at::kHalf}).scope("a");
    CHECK(at::equal(weights.stored("bytes", {3}, at::kChar), bytes));
    CHECK(at::equal(weights.stored("nibbles", {Weights::any}, at::kByte), nibbles));
    const at::Tensor found = weights.stored("scales", {2});
    CHECK((found.scalar_type() == at::kBFloat16));
    CHECK(at::equal(found, scales));
    CHECK_NOTHROW(weights.require_all_used());
    CHECK(weights.bytes_used() == 0);
    weights.add_bytes(5);
    CHECK(weights.bytes_used() == 5);
    // The pages are let go, not the numbers.
    weights.release("bytes");
    CHECK(at::equal(weights.stored("bytes", {3}, at::kChar), bytes));
    check_refused([&] { weights.stored("bytes", {3}, at::kByte); }, "ERR_CHECKPOINT", "to hold U8 numbers but found I8");
    check_refused([&] { weights.stored("bytes", {4}, at::kChar); }, "ERR_CHECKPOINT", "a.bytes");
    check_refused([&] { weights.stored("absent", {4}, at::kChar); }, "ERR_CHECKPOINT", "a.absent");
    check_refused([&] { weights.tensor("bytes", {3}); }, "ERR_CHECKPOINT", "to hold floating-point numbers but found I8");
    check_refused([&] { weights.stored("nibbles", {2}); }, "ERR_CHECKPOINT", "to hold floating-point numbers but found U8");
    check_refused([&] { weights.refuse("bytes", "is of no use"); }, "ERR_CHECKPOINT", "tensor a.bytes of ");
  }

  TEST_CASE("reads a foreign file whose elements are not aligned") {
    const TemporaryFolder folder;
    const float values[2] = {0.5F, -3.0F};
    const std::string data(reinterpret_cast<const char*>(values), sizeof(values));
    for (size_t pad = 0; pad < 4; ++pad) {
      std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
      while ((header.size() + 8) % 4 != pad) header += ' ';
      write_bytes(folder.file("foreign"), container(header, data));
      const at::Tensor tensor = Weights::open(folder.file("foreign"), {}).tensor("a", {2});
      check_equal(tensor, at::tensor({0.5F, -3.0F}), "unaligned by " + std::to_string(pad));
      CHECK(reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % 4 == 0);
    }
  }

  TEST_CASE("reads tensors without elements and without axes") {
    const TemporaryFolder folder;
    write_safetensors(folder.file("some"), {{"none", at::empty({0, 3})}, {"scalar", at::scalar_tensor(2.5F)}});
    const Weights weights = Weights::open(folder.file("some"), {});
    CHECK(weights.tensor("none", {0, 3}).numel() == 0);
    CHECK(weights.tensor("scalar", {}).item<float>() == 2.5F);
    CHECK_FALSE(weights.optional("absent", {1}, at::kFloat).defined());
    CHECK_FALSE(weights.has("absent"));
    CHECK_NOTHROW(weights.require_all_used());
  }

  TEST_CASE("refuses a cast to float16 that makes numbers infinite, and leaves infinities of the file alone") {
    const float infinity = std::numeric_limits<float>::infinity();
    const auto load = [](float value, at::ScalarType dtype) {
      const TemporaryFolder folder;
      write_safetensors(folder.file("tensors"), {{"a", at::tensor({1.0F, value})}});
      return core::Weights::open(folder.file("tensors"), {at::kCPU, dtype}).tensor("a", {2});
    };
    check_refused([&] { load(70000, at::kHalf); }, "ERR_CHECKPOINT", "beyond float16 (|w| > 65504); use dtype bfloat16 or float32");
    CHECK_NOTHROW(load(65504, at::kHalf));
    CHECK_NOTHROW(load(70000, at::kBFloat16));
    CHECK_NOTHROW(load(infinity, at::kHalf));
  }
}
