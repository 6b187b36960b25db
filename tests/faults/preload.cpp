// A library to be preloaded (LD_PRELOAD): it makes the n-th use of one kind of system, io_uring or MPI call fail, or
// ends the process there. run.py and kill.py drive it; the environment says what it does:
//
//   CHORUS_FAULT_UNDER    only files below this folder (an absolute path without links) count; sockets, processes, MPI
//                         always do
//   CHORUS_FAULT_COUNTS   a file of sizeof(Shared) bytes, shared by all processes: uses of each kind, and what was
//                         struck
//   CHORUS_FAULT_CALL     a kind (kNames of plan.cpp), or "any": calls of all kinds in one count
//   CHORUS_FAULT_AT       the n-th, from 1; "5+": that and all after it; nothing: count only
//   CHORUS_FAULT_EFFECT   an errno by name; "short": half of the bytes are read or written; "kill": SIGKILL before the
//                         call; "term": SIGTERM before it
//   CHORUS_FAULT_CLOCK    seconds by which the clock of the day is wrong
//
// Hooks allocate nothing and hold no lock. What libc calls inside itself (stdio's reads and writes) is out of their
// reach.
#include <algorithm>
#include <cstdarg>
#include <cstdio>

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <liburing.h>
#include <mpi.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "plan.h"

using namespace faults;  // hooks are a table, which long names would hide

namespace {

template <class F>
F real(F, const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}
#define REAL(name) static const auto next = real(&name, #name)

mode_t mode_of(int flags, va_list& list) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
}

}  // namespace

// NOLINTBEGIN: names, types and linkage are those of libc, liburing and MPI
extern "C" {

// ---- files

#define OPEN(name)                                                        \
  int name(const char* path, int flags, ...) {                            \
    REAL(name);                                                           \
    va_list list;                                                         \
    va_start(list, flags);                                                \
    const mode_t mode = mode_of(flags, list);                             \
    va_end(list);                                                         \
    if (use_path(kind_of_open(flags), AT_FDCWD, path).fails()) return -1; \
    return next(path, flags, mode);                                       \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                                    \
  int name(int folder, const char* path, int flags, ...) {              \
    REAL(name);                                                         \
    va_list list;                                                       \
    va_start(list, flags);                                              \
    const mode_t mode = mode_of(flags, list);                           \
    va_end(list);                                                       \
    if (use_path(kind_of_open(flags), folder, path).fails()) return -1; \
    return next(folder, path, flags, mode);                             \
  }
OPENAT(openat)
OPENAT(openat64)

#define HOOK(kind_and_place, failure, result, name, parameters, arguments) \
  result name parameters {                                                 \
    REAL(name);                                                            \
    const Verdict verdict = kind_and_place;                                \
    if (verdict.fails()) return failure;                                   \
    return next arguments;                                                 \
  }

HOOK(use_path(kOpen, AT_FDCWD, path), nullptr, FILE*, fopen, (const char* path, const char* mode),
     (path, mode))
HOOK(use_path(kOpen, AT_FDCWD, path), nullptr, FILE*, fopen64, (const char* path, const char* mode),
     (path, mode))
HOOK(use_path(kList, AT_FDCWD, path), nullptr, DIR*, opendir, (const char* path), (path))
HOOK(use_path(kOpen, AT_FDCWD, path), -1, int, mkostemp, (char* path, int flags), (path, flags))

HOOK(use_stream(kRead, kReceive, fd), -1, ssize_t, read, (int fd, void* data, size_t bytes),
     (fd, data, verdict.bytes(bytes)))
HOOK(use_file(kRead, fd), -1, ssize_t, pread, (int fd, void* data, size_t bytes, off_t at),
     (fd, data, verdict.bytes(bytes), at))
HOOK(use_file(kRead, fd), -1, ssize_t, pread64, (int fd, void* data, size_t bytes, off64_t at),
     (fd, data, verdict.bytes(bytes), at))
HOOK(use_stream(kRead, kReceive, fd), -1, ssize_t, readv, (int fd, const iovec* parts, int n),
     (fd, parts, static_cast<int>(verdict.bytes(n))))
HOOK(use_stream(kWrite, kSend, fd), -1, ssize_t, write, (int fd, const void* data, size_t bytes),
     (fd, data, verdict.bytes(bytes)))
HOOK(use_file(kWrite, fd), -1, ssize_t, pwrite, (int fd, const void* data, size_t bytes, off_t at),
     (fd, data, verdict.bytes(bytes), at))
HOOK(use_file(kWrite, fd), -1, ssize_t, pwrite64, (int fd, const void* data, size_t bytes, off64_t at),
     (fd, data, verdict.bytes(bytes), at))
HOOK(use_stream(kWrite, kSend, fd), -1, ssize_t, writev, (int fd, const iovec* parts, int n),
     (fd, parts, static_cast<int>(verdict.bytes(n))))
HOOK(use_file(kWrite, out), -1, ssize_t, sendfile, (int out, int in, off_t* at, size_t bytes),
     (out, in, at, verdict.bytes(bytes)))
HOOK(use_file(kSync, fd), -1, int, fsync, (int fd), (fd))
HOOK(use_file(kSync, fd), -1, int, fdatasync, (int fd), (fd))
HOOK(use_path(kRename, AT_FDCWD, from), -1, int, rename, (const char* from, const char* to), (from, to))
HOOK(use_path(kRename, folder, from), -1, int, renameat2,
     (int folder, const char* from, int other, const char* to, unsigned flags),
     (folder, from, other, to, flags))
HOOK(fd < 0 ? Verdict{} : use_file(kMap, fd), MAP_FAILED, void*, mmap,
     (void* at, size_t bytes, int protection, int flags, int fd, off_t offset),
     (at, bytes, protection, flags, fd, offset))
HOOK(fd < 0 ? Verdict{} : use_file(kMap, fd), MAP_FAILED, void*, mmap64,
     (void* at, size_t bytes, int protection, int flags, int fd, off64_t offset),
     (at, bytes, protection, flags, fd, offset))
HOOK(use_file(kSpace, fd), errno, int, posix_fallocate, (int fd, off_t at, off_t bytes), (fd, at, bytes))
HOOK(use_file(kSpace, fd), -1, int, ftruncate, (int fd, off_t bytes), (fd, bytes))
HOOK(use_path(kSpace, AT_FDCWD, path), -1, int, truncate, (const char* path, off_t bytes), (path, bytes))
HOOK(use_path(kUnlink, AT_FDCWD, path), -1, int, unlink, (const char* path), (path))
HOOK(use_path(kUnlink, folder, path), -1, int, unlinkat, (int folder, const char* path, int flags),
     (folder, path, flags))
HOOK(use_path(kUnlink, AT_FDCWD, path), -1, int, remove, (const char* path), (path))
HOOK(use_path(kMkdir, AT_FDCWD, path), -1, int, mkdir, (const char* path, mode_t mode), (path, mode))
HOOK(use_path(kStat, AT_FDCWD, path), -1, int, stat, (const char* path, struct stat* about), (path, about))
HOOK(use_path(kStat, AT_FDCWD, path), -1, int, lstat, (const char* path, struct stat* about), (path, about))
HOOK(use_file(kStat, fd), -1, int, fstat, (int fd, struct stat* about), (fd, about))
HOOK(use_file(kStat, fd), -1, int, fstat64, (int fd, struct stat64* about), (fd, about))
HOOK(use_file(kLock, fd), -1, int, flock, (int fd, int how), (fd, how))

int close(int fd) {
  REAL(close);
  const Verdict verdict = use_file(kClose, fd);
  const int result = next(fd);  // the descriptor is gone either way, as Linux does it
  return verdict.fails() ? -1 : result;
}

// ---- io_uring

int io_uring_queue_init(unsigned entries, io_uring* ring, unsigned flags) {
  REAL(io_uring_queue_init);
  const Verdict verdict = use(kBegin, "io_uring");
  return verdict.fails() ? -verdict.error : next(entries, ring, flags);
}

int io_uring_submit(io_uring* ring) {
  REAL(io_uring_submit);
  const Verdict verdict = use(kSubmit, "io_uring");
  if (verdict.fails()) return -verdict.error;
  for (unsigned at = ring->sq.sqe_head; at != ring->sq.sqe_tail; ++at) {
    io_uring_sqe& entry = ring->sq.sqes[at & *ring->sq.kring_mask];
    if (entry.opcode != IORING_OP_READ && entry.opcode != IORING_OP_WRITE) continue;
    const Verdict one = use(kUring, entry.opcode == IORING_OP_READ ? "io_uring: read" : "io_uring: write");
    if (one.halve) entry.len = std::max(512U, entry.len / 2 / 512 * 512);
    if (one.error == 0) continue;
    entry.opcode = IORING_OP_NOP;  // whose result is what it is told (Linux 6.10; before it, EINVAL)
    entry.rw_flags = 1;            // IORING_NOP_INJECT_RESULT
    entry.len = static_cast<uint32_t>(-one.error);
  }
  return next(ring);
}

int __io_uring_get_cqe(io_uring* ring, io_uring_cqe** event, unsigned submit, unsigned wait, sigset_t* mask) {
  REAL(__io_uring_get_cqe);
  const Verdict verdict = wait > 0 ? use(kAwait, "io_uring") : Verdict{};
  return verdict.fails() ? -verdict.error : next(ring, event, submit, wait, mask);
}

// ---- processes, threads

HOOK(use(kSpawn, path), errno, int, posix_spawn,
     (pid_t * child, const char* path, const posix_spawn_file_actions_t* files,
      const posix_spawnattr_t* attributes, char* const* arguments, char* const* environment),
     (child, path, files, attributes, arguments, environment))
HOOK(use(kThread, ""), errno, int, pthread_create,
     (pthread_t * thread, const pthread_attr_t* attributes, void* (*begin)(void*), void* argument),
     (thread, attributes, begin, argument))

// ---- sockets

HOOK(use(kSocket, ""), -1, int, socket, (int domain, int type, int protocol), (domain, type, protocol))
HOOK(use(kSocket, "bind"), -1, int, bind, (int fd, const sockaddr* address, socklen_t bytes),
     (fd, address, bytes))
HOOK(use(kSocket, "listen"), -1, int, listen, (int fd, int backlog), (fd, backlog))
HOOK(use(kAccept, ""), -1, int, accept, (int fd, sockaddr* address, socklen_t* bytes), (fd, address, bytes))
HOOK(use(kReceive, "recv"), -1, ssize_t, recv, (int fd, void* data, size_t bytes, int flags),
     (fd, data, verdict.bytes(bytes), flags))
HOOK(use(kSend, "send"), -1, ssize_t, send, (int fd, const void* data, size_t bytes, int flags),
     (fd, data, verdict.bytes(bytes), flags))

// "short" of a message in parts: its first part alone, halved.
#define MESSAGE(name, kind, type)                                                    \
  ssize_t name(int fd, type* message, int flags) {                                   \
    REAL(name);                                                                      \
    const Verdict verdict = use(kind, #name);                                        \
    if (verdict.fails()) return -1;                                                  \
    if (!verdict.halve || message->msg_iovlen == 0) return next(fd, message, flags); \
    iovec part = message->msg_iov[0];                                                \
    part.iov_len = verdict.bytes(part.iov_len);                                      \
    msghdr less = *message;                                                          \
    less.msg_iov = &part;                                                            \
    less.msg_iovlen = 1;                                                             \
    return next(fd, &less, flags);                                                   \
  }
MESSAGE(recvmsg, kReceive, msghdr)
MESSAGE(sendmsg, kSend, const msghdr)

// ---- MPI

#define MPI(kind, name, parameters, arguments)                           \
  int name parameters {                                                  \
    REAL(name);                                                          \
    return use(kind, #name).error != 0 ? MPI_ERR_OTHER : next arguments; \
  }
MPI(kMpiStart, MPI_Init_thread, (int* argc, char*** argv, int wanted, int* given),
    (argc, argv, wanted, given))
MPI(kMpiStart, MPI_Comm_dup, (MPI_Comm from, MPI_Comm* to), (from, to))
MPI(kMpiStart, MPI_Comm_group, (MPI_Comm of, MPI_Group* group), (of, group))
MPI(kMpiStart, MPI_Group_incl, (MPI_Group of, int n, const int* ranks, MPI_Group* group),
    (of, n, ranks, group))
MPI(kMpiStart, MPI_Comm_create_group, (MPI_Comm of, MPI_Group group, int tag, MPI_Comm* made),
    (of, group, tag, made))
MPI(kMpiSend, MPI_Isend,
    (const void* data, int n, MPI_Datatype type, int to, int tag, MPI_Comm of, MPI_Request* request),
    (data, n, type, to, tag, of, request))
MPI(kMpiReceive, MPI_Irecv,
    (void* data, int n, MPI_Datatype type, int from, int tag, MPI_Comm of, MPI_Request* request),
    (data, n, type, from, tag, of, request))
MPI(kMpiWait, MPI_Testall, (int n, MPI_Request* requests, int* all, MPI_Status* statuses),
    (n, requests, all, statuses))
MPI(kMpiWait, MPI_Iprobe, (int from, int tag, MPI_Comm of, int* there, MPI_Status* status),
    (from, tag, of, there, status))

// ---- the clock of the day

int clock_gettime(clockid_t clock, timespec* time) {
  REAL(clock_gettime);
  const int result = next(clock, time);
  if (clock == CLOCK_REALTIME) time->tv_sec += clock_error();
  return result;
}

}  // extern "C"
// NOLINTEND
