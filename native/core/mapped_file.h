// A file mapped read-only. The pages belong to the page cache, so processes share them and loading copies nothing.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace metavoice::core {

class MappedFile {
 public:
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

  // Asks the system to have a range in memory now, so that the first use does not wait page by page.
  void populate(size_t offset, size_t length) const;

  // The range was copied and will not be read again soon: its pages need not stay in this process. The file is unharmed.
  void release(size_t offset, size_t length) const;

 private:
  MappedFile(std::string path, const std::byte* data, size_t size) : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace metavoice::core
