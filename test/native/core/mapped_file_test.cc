#include "core/mapped_file.h"

#include <doctest.h>
#include <unistd.h>

#include <cstring>

#include "support/compare.h"
#include "support/files.h"

using namespace metavoice;
using namespace metavoice::testing;

TEST_SUITE("core/mapped_file") {
  TEST_CASE("refuses what is not a file with content") {
    const TemporaryFolder folder;
    const auto refused = [&](const std::string& path, const std::string& words) {
      check_refused([&] { core::MappedFile::open(path); }, "ERR_MODEL_NOT_FOUND", words);
    };
    refused(folder.file("absent"), "No such file");
    refused(folder.file(""), "not a regular file");
    refused("/dev/null", "not a regular file");
    write_bytes(folder.file("empty"), "");
    refused(folder.file("empty"), "not a regular file with content");
    CHECK(refusal([&] { core::MappedFile::open(folder.file("absent")); }).details().at(0).second == folder.file("absent"));
  }

  TEST_CASE("shows the bytes of the file, populated or not, whole or over the edges of pages") {
    const TemporaryFolder folder;
    std::string bytes(3 * 4096 + 5, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
    write_bytes(folder.file("some"), bytes);
    const auto file = core::MappedFile::open(folder.file("some"));
    CHECK(file->size() == bytes.size());
    CHECK(file->path() == folder.file("some"));
    file->populate(0, bytes.size());
    file->populate(4095, 2);
    file->populate(bytes.size(), 0);
    CHECK(std::memcmp(file->data(), bytes.data(), bytes.size()) == 0);
    file->release(0, bytes.size());
    file->release(4000, 200);
    file->release(bytes.size(), 0);
    CHECK(std::memcmp(file->data(), bytes.data(), bytes.size()) == 0);
  }

  TEST_CASE("keeps the bytes after the file's name is gone") {
    const TemporaryFolder folder;
    write_bytes(folder.file("some"), "text");
    const auto file = core::MappedFile::open(folder.file("some"));
    ::unlink(folder.file("some").c_str());
    CHECK(std::memcmp(file->data(), "text", 4) == 0);
  }
}
