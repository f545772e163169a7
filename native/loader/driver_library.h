// A library of the NVIDIA driver, opened at run time: most machines have none, and some have half of it.
#pragma once

#include <dlfcn.h>

#include <string>

namespace metavoice::loader {

// Never closed: the driver keeps threads of its own.
class DriverLibrary {
 public:
  // The file's name, such as libcuda.so.1; it is also looked for where Windows keeps it for its Linux.
  explicit DriverLibrary(const std::string& name) {
    handle_ = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (handle_ == nullptr) handle_ = dlopen(("/usr/lib/wsl/lib/" + name).c_str(), RTLD_LAZY | RTLD_LOCAL);
  }

  // nullptr where the library lacks it, or is not there.
  template <typename Function>
  Function* symbol(const char* name) const {
    return handle_ == nullptr ? nullptr : reinterpret_cast<Function*>(dlsym(handle_, name));
  }

 private:
  void* handle_ = nullptr;
};

}  // namespace metavoice::loader
