// What a program that trains or runs models asks of its process: memory that is kept, bounded caches.
#pragma once

namespace chorus {

/// Settings of the allocator and of libtorch and oneDNN, for the whole process. Call it first in main, before
/// anything of libtorch runs. What the user has set of THP_MEM_ALLOC_ENABLE and
/// ONEDNN_PRIMITIVE_CACHE_CAPACITY stays; glibc's MALLOC_MMAP_MAX_ and MALLOC_TRIM_THRESHOLD_ have no effect.
void set_up_process();

}  // namespace chorus
