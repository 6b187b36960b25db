// How one of several ranks ends when something fails.
#pragma once

#include "comm/group.h"

namespace chorus::inline comm {

/// To be called where an exception is handled, before what MPI and threads of groups still use has gone: tensors, weights, groups.
/// Ends the process by the hook; comes back where there is none. Of several threads one ends it, the others wait for the end.
void end_by_hook();

/// For main: what prints std::current_exception(), ends all ranks, and does not come back.
void set_failure_hook(void (*hook)());

/// What `work()` returns; where it throws on one of several ranks, end_by_hook() while all that it was given is still there.
template <class Work>
auto or_end(const Group& group, const Work& work) {
  try {
    return work();
  } catch (...) {
    if (group.size() > 1) end_by_hook();
    throw;
  }
}

}  // namespace chorus::inline comm
