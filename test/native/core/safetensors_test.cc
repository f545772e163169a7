#include "core/safetensors.h"

#include <doctest.h>

#include <random>

#include "support/compare.h"
#include "support/files.h"

using namespace metavoice;
using namespace metavoice::testing;

namespace {

std::string number(uint64_t value) { return {reinterpret_cast<const char*>(&value), sizeof(value)}; }

struct Scratch {
  TemporaryFolder folder;
  std::string path = folder.file("some.safetensors");

  core::Safetensors open(const std::string& bytes) const {
    write_bytes(path, bytes);
    return core::Safetensors::open(path);
  }
  void refused(const std::string& bytes, const std::string& words) const {
    check_refused([&] { open(bytes); }, "ERR_CHECKPOINT", words);
  }
  // A header of one tensor with these fields over eight bytes of data.
  void entry_refused(const std::string& fields, const std::string& words) const {
    refused(container("{\"a\":{" + fields + "}}", "12345678"), words);
  }
};

constexpr const char* kSound = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

}  // namespace

TEST_SUITE("core/safetensors") {
  TEST_CASE("refuses a header whose length lies") {
    const Scratch scratch;
    scratch.refused("1234567", "its header claims");
    scratch.refused(number(0) + "{}", "its header claims 0 bytes");
    scratch.refused(number(3) + "{}", "its header claims 3 bytes of a file of 10");
    scratch.refused(number(std::numeric_limits<uint64_t>::max()) + "{}", "its header claims");
    scratch.refused(number(uint64_t{1} << 63) + "{}", "its header claims");
    scratch.refused(number(std::numeric_limits<uint64_t>::max() - 7) + "{}", "its header claims");
    scratch.refused("GIF89a and so on", "its header claims");
  }

  TEST_CASE("refuses a huge header before reading it") {
    const Scratch scratch;
    write_bytes(scratch.path, number(150'000'000));
    std::filesystem::resize_file(scratch.path, 200'000'000);  // sparse
    check_refused([&] { core::Safetensors::open(scratch.path); }, "ERR_CHECKPOINT", "its header claims 150000000");
  }

  TEST_CASE("refuses lists of more numbers than tensors have dimensions, and takes so many") {
    const Scratch scratch;
    const auto ones = [](int count) {
      std::string text = "2";
      for (int i = 1; i < count; ++i) text += ",1";
      return text;
    };
    const auto fields = [&](int count) { return R"("dtype":"F32","data_offsets":[0,8],"shape":[)" + ones(count) + "]"; };
    scratch.entry_refused(fields(17), "a list of more numbers");
    CHECK(scratch.open(container("{\"a\":{" + fields(16) + "}}", "12345678")).tensors.at("a").shape.size() == 16);
  }

  TEST_CASE("refuses a header that is not what the format says") {
    const Scratch scratch;
    const auto header_refused = [&](const std::string& header, const std::string& words) {
      scratch.refused(container(header, "12345678"), words);
    };
    header_refused("[]", "expected '{' at header byte 0");
    header_refused("{", "expected '\"'");
    header_refused("{\"a", "expected '\"'");
    header_refused("{\"a\\", "expected '\"'");
    header_refused("{\"a\"}", "expected ':'");
    header_refused("{\"a\":3}", "expected '{'");
    header_refused("{\"a\":{}}", "expected '\"'");
    header_refused("{\"\\u0061\":{}}", "an escape");
    header_refused(std::string(kSound) + "x", "goes on after its end");
    header_refused(std::string(kSound) + kSound, "goes on after its end");
    header_refused("{\"__metadata__\":[]}", "expected '{'");
    header_refused("{\"__metadata__\":{\"a\":1}}", "expected '\"'");
    header_refused(std::string(100'000, '{'), "expected '\"'");
    header_refused(std::string("\0\0\0\0", 4), "expected '{'");
  }

  TEST_CASE("refuses a tensor that is there twice") {
    const Scratch scratch;
    const std::string entry = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
    scratch.refused(container("{" + entry + "," + entry + "}", "12345678"), "tensor a is there twice");
  }

  TEST_CASE("refuses a tensor that is described wrongly") {
    const Scratch scratch;
    scratch.entry_refused(R"("dtype":"F32","shape":[2])", "in part only");
    scratch.entry_refused(R"("dtype":"F32","data_offsets":[0,8])", "in part only");
    scratch.entry_refused(R"("shape":[2],"data_offsets":[0,8])", "in part only");
    scratch.entry_refused(R"("dtype":"F32","shape":[2],"data_offsets":[0])", "in part only");
    scratch.entry_refused(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])", "in part only");
    scratch.entry_refused(R"("dtype":"F31","shape":[2],"data_offsets":[0,8])", "a dtype that is not known");
    scratch.entry_refused(R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"more":"1")", "unknown field more");
    scratch.entry_refused(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", "expected a natural number");
    scratch.entry_refused(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", "expected ']'");
    scratch.entry_refused(R"("dtype":"F32","shape":[2,],"data_offsets":[0,8])", "expected a natural number");
    scratch.entry_refused(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8])", "expected a natural number");
  }

  TEST_CASE("refuses a tensor whose offsets lie") {
    const Scratch scratch;
    const auto offsets_refused = [&](const std::string& offsets, const std::string& words) {
      scratch.entry_refused(R"("dtype":"F32","shape":[2],"data_offsets":)" + offsets, words);
    };
    offsets_refused("[0,9]", "outside the file");
    offsets_refused("[8,0]", "outside the file");
    offsets_refused("[8,16]", "outside the file");
    offsets_refused("[9223372036854775800,9223372036854775807]", "outside the file");
    offsets_refused("[0,7]", "has 7 bytes, which is not its shape");
    offsets_refused("[0,4]", "has 4 bytes, which is not its shape");
    offsets_refused("[0,0]", "has 0 bytes, which is not its shape");
    offsets_refused("[-8,0]", "expected a natural number");
  }

  TEST_CASE("refuses a shape whose product overflows") {
    const Scratch scratch;
    for (const char* shape : {"[4294967296,4294967296]", "[9223372036854775807,2]", "[4611686018427387904,4,2]",
                              "[9223372036854775807,9223372036854775807,9223372036854775807]"})
      scratch.entry_refused(std::string(R"("dtype":"F32","data_offsets":[0,8],"shape":)") + shape, "larger than any file");
  }

  TEST_CASE("refuses every truncation of a sound file") {
    const Scratch scratch;
    const std::string sound = container(kSound, "12345678");
    for (size_t length = 1; length < sound.size(); ++length) {
      const core::Error error = refusal([&] { scratch.open(sound.substr(0, length)); });
      CAPTURE(length);
      CHECK(error.code() == "ERR_CHECKPOINT");
    }
  }

  TEST_CASE("never does anything but open or refuse, whatever the header's bytes") {
    const Scratch scratch;
    const std::string sound = container(
        R"({"__metadata__":{"k":"v"},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
        "123456789012");
    std::mt19937 random(1);
    int opened = 0;
    for (int round = 0; round < 3000; ++round) {
      std::string bytes = sound;
      for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips)
        bytes[random() % bytes.size()] = static_cast<char>(random() % 2 == 0 ? random() : "{}[],:\"0123456789"[random() % 17]);
      try {
        const core::Safetensors file = scratch.open(bytes);
        for (const auto& [name, tensor] : file.tensors) REQUIRE(tensor.offset + tensor.bytes <= bytes.size());
        ++opened;
      } catch (const core::Error& error) {
        REQUIRE(error.code() == "ERR_CHECKPOINT");
      }
    }
    CHECK(opened > 0);
    CHECK(opened < 3000);
  }

  TEST_CASE("reads names, dtypes, shapes and places") {
    const Scratch scratch;
    const std::string header =
        " {\n\t\"__metadata__\" : {\"format\":\"pt\", \"x\\\"y\":\"\\\\\"} ,\"a/b.\\\"c\\\"\":{\"shape\":[2, 1],\"dtype\":\"I16\",\"data_offsets\":[4,8]},"
        "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},\"none\":{\"dtype\":\"F64\",\"shape\":[0,3],\"data_offsets\":[8,8]}}   ";
    const core::Safetensors file = scratch.open(container(header, "12345678"));
    REQUIRE(file.tensors.size() == 3);
    const core::StoredTensor& named = file.tensors.at("a/b.\"c\"");
    CHECK((named.dtype == c10::kShort));
    CHECK(named.shape == std::vector<int64_t>{2, 1});
    CHECK(named.offset == 8 + header.size() + 4);
    CHECK(named.bytes == 4);
    CHECK(file.tensors.at("scalar").shape.empty());
    CHECK(file.tensors.at("none").bytes == 0);
  }

  TEST_CASE("knows every dtype of the format that libtorch has") {
    const Scratch scratch;
    const std::map<std::string, std::pair<c10::ScalarType, int>> dtypes = {
        {"F64", {c10::kDouble, 8}}, {"F32", {c10::kFloat, 4}}, {"F16", {c10::kHalf, 2}}, {"BF16", {c10::kBFloat16, 2}}, {"I64", {c10::kLong, 8}},
        {"I32", {c10::kInt, 4}}, {"I16", {c10::kShort, 2}}, {"I8", {c10::kChar, 1}}, {"U8", {c10::kByte, 1}}, {"BOOL", {c10::kBool, 1}}};
    for (const auto& [name, expected] : dtypes) {
      const core::Safetensors file = scratch.open(container(
          "{\"a\":{\"dtype\":\"" + name + "\",\"shape\":[1],\"data_offsets\":[0," + std::to_string(expected.second) + "]}}", "12345678"));
      CHECK((file.tensors.at("a").dtype == expected.first));
    }
  }

  TEST_CASE("opens a file of no tensors") {
    const Scratch scratch;
    CHECK(scratch.open(container("{}", "")).tensors.empty());
    CHECK(scratch.open(container("{\"__metadata__\":{}}", "")).tensors.empty());
  }
}
