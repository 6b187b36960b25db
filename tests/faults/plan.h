// What the hooks ask of each call: whether it counts, and what becomes of it.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace faults {

enum Kind : uint8_t {
  kOpen,
  kList,  // a folder is opened
  kRead,
  kWrite,
  kSync,
  kRename,
  kMap,
  kSpace,
  kClose,
  kUnlink,
  kMkdir,
  kStat,
  kLock,
  kUring,   // what becomes of a request
  kSubmit,  // requests are handed to the kernel
  kAwait,   // waiting for one
  kBegin,   // a ring is made
  kSpawn,
  kThread,
  kSocket,
  kAccept,
  kReceive,
  kSend,
  kMpiStart,
  kMpiSend,
  kMpiReceive,
  kMpiWait,
  kKinds
};
/// What becomes of this use of a kind.
struct Verdict {
  int error = 0;
  bool halve = false;
  /// Whether the call is to fail: errno is set.
  [[nodiscard]] bool fails() const {
    if (error != 0) errno = error;
    return error != 0;
  }
  [[nodiscard]] size_t bytes(size_t asked) const { return halve && asked > 1 ? asked / 2 : asked; }
};

Verdict use(Kind kind, const char* where);
/// Where the path, or what the descriptor leads to, counts.
Verdict use_path(Kind kind, int folder, const char* path);
Verdict use_file(Kind kind, int fd);
/// Of a file or a socket.
Verdict use_stream(Kind of_file, Kind of_socket, int fd);
Kind kind_of_open(int flags);

/// Seconds by which the clock of the day is wrong.
time_t clock_error();

}  // namespace faults
