#include "loader/copy_file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "loader/copy.h"

#ifdef _WIN32
#include <io.h>

#include <filesystem>
#else
#include <unistd.h>
#endif

namespace metavoice::loader {

namespace {

const char* errno_name(int number) {
  switch (number) {
    case ENOENT: return "ENOENT";
    case EACCES: return "EACCES";
    case EPERM: return "EPERM";
    case EISDIR: return "EISDIR";
    case ENOTDIR: return "ENOTDIR";
    case EROFS: return "EROFS";
    case ENOSPC: return "ENOSPC";
    case EFBIG: return "EFBIG";
    case EMFILE: return "EMFILE";
    case ENFILE: return "ENFILE";
    case EINVAL: return "EINVAL";
#ifdef EDQUOT
    case EDQUOT: return "EDQUOT";
#endif
    default: return "EIO";
  }
}

[[noreturn]] void fail(const char* what, const std::string& path, int number) {
  throw CopyError(errno_name(number), std::string(what) + " " + path + ": " + std::generic_category().message(number),
                  {{"file", path}});
}

#ifdef _WIN32
int open_path(const std::string& path, int flags) {
  const std::u8string name(path.begin(), path.end());
  return _wopen(std::filesystem::path(name).c_str(), flags | _O_BINARY);
}
long read_at(int file, void* data, size_t length, uint64_t offset) {
  if (_lseeki64(file, static_cast<int64_t>(offset), SEEK_SET) < 0) return -1;
  return _read(file, data, static_cast<unsigned>(length));
}
long write_at(int file, const void* data, size_t length, uint64_t offset) {
  if (_lseeki64(file, static_cast<int64_t>(offset), SEEK_SET) < 0) return -1;
  return _write(file, data, static_cast<unsigned>(length));
}
int flush_file(int file) { return _commit(file); }
int close_file(int file) { return _close(file); }
#else
int open_path(const std::string& path, int flags) { return ::open(path.c_str(), flags | O_CLOEXEC); }
ssize_t read_at(int file, void* data, size_t length, uint64_t offset) {
  return ::pread(file, data, length, static_cast<off_t>(offset));
}
ssize_t write_at(int file, const void* data, size_t length, uint64_t offset) {
  return ::pwrite(file, data, length, static_cast<off_t>(offset));
}
#ifdef __linux__
int flush_file(int file) { return ::fdatasync(file); }
#else
int flush_file(int file) { return ::fsync(file); }
#endif
int close_file(int file) { return ::close(file); }
#endif

int open_or_fail(const std::string& path, int flags) {
  for (;;) {
    const int handle = open_path(path, flags);
    if (handle >= 0) return handle;
    if (errno != EINTR) fail("cannot open", path, errno);
  }
}

}  // namespace

CopyFile CopyFile::for_reading(const std::string& path) { return CopyFile(open_or_fail(path, O_RDONLY), path); }

CopyFile CopyFile::for_writing(const std::string& path) { return CopyFile(open_or_fail(path, O_WRONLY), path); }

CopyFile::CopyFile(CopyFile&& other) noexcept
    : handle_(std::exchange(other.handle_, -1)), path_(std::move(other.path_)) {}

CopyFile::~CopyFile() {
  if (handle_ >= 0) close_file(handle_);
}

size_t CopyFile::read(void* data, size_t length, uint64_t offset) {
  size_t done = 0;
  while (done < length) {
    const auto got = read_at(handle_, static_cast<char*>(data) + done, length - done, offset + done);
    if (got == 0) break;
    if (got > 0) done += static_cast<size_t>(got);
    else if (errno != EINTR) fail("cannot read", path_, errno);
  }
  return done;
}

void CopyFile::write(const void* data, size_t length, uint64_t offset) {
  size_t done = 0;
  while (done < length) {
    const auto put = write_at(handle_, static_cast<const char*>(data) + done, length - done, offset + done);
    if (put > 0) done += static_cast<size_t>(put);
    else if (put == 0) fail("cannot write", path_, EIO);
    else if (errno != EINTR) fail("cannot write", path_, errno);
  }
}

void CopyFile::flush() {
  while (flush_file(handle_) != 0)
    if (errno != EINTR) fail("cannot flush", path_, errno);
}

}  // namespace metavoice::loader
