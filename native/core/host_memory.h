// Memory of the process that nobody uses.
#pragma once

namespace metavoice::core {

// Gives its pages back to the system. glibc keeps what each thread freed in an arena of that thread: what a process holds
// would creep up with the chance of what its threads need at once. Elsewhere nothing is done. Some milliseconds.
void release_host_memory();

}  // namespace metavoice::core
