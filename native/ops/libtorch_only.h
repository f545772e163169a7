// The other side of a measurement: what libtorch's own kernels would do in place of ours.
#pragma once

namespace metavoice::ops {

// While one lives, matrix products of its thread go by libtorch's kernels alone, as if there were none of our own.
class LibtorchOnly {
 public:
  LibtorchOnly() : before_(active_) { active_ = true; }
  ~LibtorchOnly() { active_ = before_; }
  LibtorchOnly(const LibtorchOnly&) = delete;
  LibtorchOnly& operator=(const LibtorchOnly&) = delete;

  static bool active() { return active_; }

 private:
  static inline thread_local bool active_ = false;
  bool before_;
};

}  // namespace metavoice::ops
