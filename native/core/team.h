// Threads that share work of microseconds. Those of libtorch sleep from one piece of work to the next
// (OMP_WAIT_POLICY=PASSIVE), and to wake them takes as long as a small matrix product. These look for the next work for a
// moment before they sleep, and nobody waits for one that has not begun: what is left, the caller does.
#pragma once

#include <c10/util/FunctionRef.h>

#include <cstdint>

namespace metavoice::core {

// work(begin, end) over all of [0, count), `piece` at a time, by the caller and as many others as make up at::get_num_threads()
// of it. Who does which piece is left to chance, so no result may depend on it. Back when all is done; what `work` throws is
// thrown here, perhaps with pieces left undone. A single piece, and what comes while others share something, the caller does
// alone.
void share_work(int64_t count, int64_t piece, c10::function_ref<void(int64_t begin, int64_t end)> work);

}  // namespace metavoice::core
