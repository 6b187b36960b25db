// Tells ThreadSanitizer that a parallel region of OpenMP begins after what came before it, and ends before what
// follows: libgomp is not built for it. In all programs of the preset `tsan`, where it stands before libgomp's own
// function.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

namespace {

struct Region {
  void (*body)(void*);
  void* data;
  char begun, ended;  // places to synchronise at
};

void run(void* argument) {
  auto& region = *static_cast<Region*>(argument);
  __tsan_acquire(&region.begun);
  region.body(region.data);
  __tsan_release(&region.ended);
}

}  // namespace

extern "C" void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned flags) {
  static const auto parallel =
      reinterpret_cast<decltype(&GOMP_parallel)>(::dlsym(RTLD_NEXT, "GOMP_parallel"));
  Region region = {.body = body, .data = data, .begun = 0, .ended = 0};
  __tsan_release(&region.begun);
  parallel(run, &region, threads, flags);
  __tsan_acquire(&region.ended);
}
