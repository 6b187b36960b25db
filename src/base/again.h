// System calls that a signal interrupts.
#pragma once

#include <cerrno>

namespace chorus::inline base {

/// What `call()` returns, which is made again for as long as it returns -1 with EINTR. Not for close(), whose
/// descriptor is gone all the same.
template <class Call>
auto again(const Call& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

}  // namespace chorus::inline base
