// How work that takes long hears that it is no longer wanted.
#pragma once

#include <functional>

#include "core/error.h"

namespace metavoice::core {

// Asked again and again, on the thread that works. Empty: it is wanted to its end.
using Stopped = std::function<bool()>;

inline void require_wanted(const Stopped& stopped) {
  if (stopped && stopped()) throw Error("ABORT_ERR", "the work was cancelled");
}

}  // namespace metavoice::core
