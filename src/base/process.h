// What a program that trains or runs models asks of its process: memory that is kept, bounded caches.
#pragma once

namespace chorus::inline base {

/// Settings of libtorch and oneDNN for the whole process. Call it first in main, before anything of libtorch
/// runs. What the user has set of THP_MEM_ALLOC_ENABLE and ONEDNN_PRIMITIVE_CACHE_CAPACITY stays. A program
/// that calls it and is linked with jemalloc, as chorus is, also gets our settings of that: freed memory is kept. (It
/// asks for memory before there is an environment, so MALLOC_CONF changes nothing.)
void set_up_process();

/// Gives freed memory back to the system, from now on, when nothing has taken it for a second. For a program that
/// needs much memory at times, or blocks of ever other sizes, which the memory that is kept fits less and less. Does
/// nothing where jemalloc is not linked. Call it before threads begin.
void give_back_memory();

}  // namespace chorus::inline base
