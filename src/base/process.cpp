#include "chorus/base/process.h"

#include <cstdlib>

#include <malloc.h>

namespace chorus {

void set_up_process() {
  // Each step asks for the same large blocks again. From 32 MiB on, glibc would map and return each of them,
  // and first touch of fresh pages costs several times what the kernels do with them (dispatch of 16,384
  // tokens: 2.5 times). So large blocks come from the heap too, and the heap does not shrink.
  ::mallopt(M_MMAP_MAX, 0);
  ::mallopt(M_TRIM_THRESHOLD, -1);
  // What still is fresh takes fewer faults in huge pages.
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
  // oneDNN keeps the code it made for each of its last 1,024 shapes, and the experts of a layer have new
  // shapes in each step: that would grow to some GB. The shapes that do return in each step are fewer than
  // this.
  ::setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", 0);
}

}  // namespace chorus
