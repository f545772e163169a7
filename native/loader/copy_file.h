// One open file, read and written at offsets. Owned by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace metavoice::loader {

class CopyFile {
 public:
  static CopyFile for_reading(const std::string& path);
  // The file must exist; it is not cut.
  static CopyFile for_writing(const std::string& path);

  CopyFile(CopyFile&& other) noexcept;
  CopyFile(const CopyFile&) = delete;
  CopyFile& operator=(const CopyFile&) = delete;
  ~CopyFile();

  // Bytes read, fewer than `length` only at the end of the file. Throws CopyError with the name of the errno.
  size_t read(void* data, size_t length, uint64_t offset);
  void write(const void* data, size_t length, uint64_t offset);
  // Everything written so far is on the disk afterwards.
  void flush();

 private:
  CopyFile(int handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  int handle_;
  std::string path_;
};

}  // namespace metavoice::loader
