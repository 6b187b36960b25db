#include "base/process.h"

#include <cstddef>
#include <cstdlib>
#include <initializer_list>

#include <sys/types.h>

namespace chorus::inline base {

// Read by jemalloc, which our programs are linked with, before main. Each step asks for the same large blocks
// again, and first touch of fresh pages costs several times what the kernels do with them (dispatch of 16,384
// tokens: 2.5 times), so none is given back. Of what is kept a fitting block is taken, large ones from the
// same arena as small ones: a dense step peaks at 1 % more than what lives then, a step with experts at 11 %,
// where glibc's heap took a quarter. Few arenas, since each keeps its own.
extern "C" {
extern const char* malloc_conf;
[[gnu::weak]] const char* malloc_conf = "dirty_decay_ms:-1,muzzy_decay_ms:-1,oversize_threshold:0,narenas:4";
[[gnu::weak]] int mallctl(const char* name, void* old_value, size_t* old_size, void* value, size_t size);
}

void set_up_process() {
  // Fresh memory takes fewer faults in huge pages.
  ::setenv("THP_MEM_ALLOC_ENABLE", "1", 0);
  // oneDNN keeps the code it made for each of its last 1,024 shapes, and the experts of a layer have new
  // shapes in each step: that would grow to some GB. The shapes that do return in each step are fewer than
  // this.
  ::setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "128", 0);
}

void give_back_memory() {
  if (!mallctl) return;
  // Of arenas that are to come, and of all that are there.
  const auto set = [](const char* name, auto value) {
    mallctl(name, nullptr, nullptr, &value, sizeof value);
  };
  for (const char* const name : {"arenas.dirty_decay_ms", "arena.4096.dirty_decay_ms"})
    set(name, ssize_t{1000});
  for (const char* const name : {"arenas.muzzy_decay_ms", "arena.4096.muzzy_decay_ms"}) set(name, ssize_t{0});
  set("background_thread", true);  // threads that wait give nothing back themselves
}

}  // namespace chorus::inline base
