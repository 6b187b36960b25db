// What a program that trains or runs models asks of its process: memory that is kept, bounded caches.
#pragma once

namespace chorus::inline base {

/// Settings of libtorch and oneDNN for the whole process. Call it first in main, before anything of libtorch
/// runs. What the user has set of THP_MEM_ALLOC_ENABLE and ONEDNN_PRIMITIVE_CACHE_CAPACITY stays. A program
/// that calls it and is linked with jemalloc also gets our settings of that (MALLOC_CONF in the environment
/// changes them); chorus is.
void set_up_process();

}  // namespace chorus::inline base
