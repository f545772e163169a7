#include "core/host_memory.h"

#include <cstdlib>  // tells whose library it is

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace metavoice::core {

void release_host_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

}  // namespace metavoice::core
