#include "loader/libraries.h"

#include <dlfcn.h>
#if defined(__linux__)
#include <link.h>
#endif

#include <cstdlib>
#include <mutex>

namespace metavoice::loader {
namespace {

std::mutex& opening() {
  static std::mutex mutex;
  return mutex;
}

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string real_path(const std::string& path) {
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return path;
  std::string result = resolved;
  std::free(resolved);
  return result;
}

// Where a library of this name is open already; empty when it is not.
std::string open_copy(const std::string& name) {
#if defined(__linux__)
  struct Search {
    const std::string& name;
    std::string path;
  } search{name, ""};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& sought = *static_cast<Search*>(data);
        if (info->dlpi_name == nullptr || file_name(info->dlpi_name) != sought.name) return 0;
        sought.path = info->dlpi_name;
        return 1;
      },
      &search);
  return search.path;
#else
  (void)name;
  return "";
#endif
}

// Anything else would be searched for, and could be found anywhere.
void require_absolute(const std::string& path) {
  if (path.empty() || path.front() != '/') throw OpenError("expected an absolute path but found `" + path + "`");
}

void* open(const std::string& path, int flags) {
  void* library = dlopen(path.c_str(), flags);
  if (library == nullptr) {
    const char* words = dlerror();
    throw OpenError("cannot open " + path + ": " + (words ? words : "the loader gives no reason"));
  }
  return library;
}

}  // namespace

void open_libraries(const std::vector<std::string>& paths) {
  const std::lock_guard lock(opening());
  for (const std::string& path : paths) {
    require_absolute(path);
    if (const std::string copy = open_copy(file_name(path)); !copy.empty() && real_path(copy) != real_path(path)) {
      throw OpenError("cannot open " + path + ": this process already uses another copy, " + copy);
    }
    open(path, RTLD_NOW | RTLD_GLOBAL);
  }
}

void* open_symbol(const std::string& path, const char* name) {
  const std::lock_guard lock(opening());
  require_absolute(path);
  void* found = dlsym(open(path, RTLD_NOW | RTLD_LOCAL), name);
  if (found == nullptr) throw OpenError(path + " has no symbol `" + name + "`: it is not an engine of metavoice");
  return found;
}

}  // namespace metavoice::loader
