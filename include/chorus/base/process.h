// What a program that trains or runs models asks of its process: memory that is kept, bounded caches.
#pragma once

namespace chorus {

/// Settings of the allocator and of libtorch and oneDNN, for the whole process. Call it first in main, before
/// anything of libtorch runs. What the user has set in the environment stays.
void set_up_process();

}  // namespace chorus
