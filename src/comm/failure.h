// How one of several ranks ends when something fails.
#pragma once

#include "comm/group.h"

namespace chorus::inline comm {

/// Ends the process by the hook; returns when there is none. To be called where an exception is handled, before
/// anything goes that MPI and the threads of groups still use: tensors, weights, groups. Of several threads one ends
/// the process, the others wait for the end.
void end_by_hook();

/// Sets the hook, for main: a function that prints std::current_exception(), ends all ranks, and does not return.
void set_failure_hook(void (*hook)());

/// Returns what `work()` returns. When it throws on one of several ranks, calls end_by_hook() while all that it was
/// given is still there.
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
