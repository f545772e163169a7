// A queue of work of this thread's own on a GPU: what it launches runs beside the work of other threads. Nothing on the CPU.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/StreamGuard.h>

#include <optional>

namespace metavoice::core {

// Waits for all that was launched on a device in any stream; of what is made once and read in several.
void synchronize(c10::Device device);

class SideStream {
 public:
  // From here on, until it goes, this thread's work on `device` is in the stream. What other streams made must be finished.
  void enter(c10::Device device) noexcept;

 private:
  std::optional<c10::StreamGuard> guard_;
};

}  // namespace metavoice::core
