// The calls of the system that block and scratch files make, for tests to put failing ones in their place.
#pragma once

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

namespace chorus::inline memory {

struct DiskCalls {
  int (*open)(const char* path, int flags, mode_t mode) = [](const char* path, int flags, mode_t mode) {
    return ::open(path, flags, mode);
  };
  int (*allocate)(int fd, off_t offset, off_t bytes) = ::posix_fallocate;
  ssize_t (*read)(int fd, void* data, size_t bytes, off_t offset) = ::pread;
  ssize_t (*write)(int fd, const void* data, size_t bytes, off_t offset) = ::pwrite;
  int (*begin)(unsigned entries, io_uring* ring, unsigned flags) = io_uring_queue_init;
  int (*submit)(io_uring* ring) = io_uring_submit;
  /// The next event; waits for one, or returns -EAGAIN where there is none.
  int (*next)(io_uring* ring, io_uring_cqe** event, bool wait) = [](io_uring* ring, io_uring_cqe** event,
                                                                    bool wait) {
    return wait ? io_uring_wait_cqe(ring, event) : io_uring_peek_cqe(ring, event);
  };
};

/// Returns the calls that all block files make.
DiskCalls& disk_calls();

}  // namespace chorus::inline memory
