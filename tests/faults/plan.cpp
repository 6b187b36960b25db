#include "plan.h"

#include <algorithm>
#include <atomic>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace faults {
namespace {

constexpr const char* kNames[] = {
    "open",   "list",   "read",   "write",   "sync",  "rename",    "mmap",     "space",       "close",
    "unlink", "mkdir",  "stat",   "flock",   "uring", "submit",    "await",    "begin",       "spawn",
    "thread", "socket", "accept", "receive", "send",  "mpi_start", "mpi_send", "mpi_receive", "mpi_wait"};
static_assert(std::size(kNames) == kKinds);

struct Shared {
  std::atomic<uint64_t> uses[32];  // by kind
  std::atomic<uint64_t> any;
  std::atomic<uint64_t> struck;  // times
  char what[512];                // the first that was struck: "kind path"
};
static_assert(sizeof(Shared) == 784);  // run.py reads it

Shared own_counts;

struct Plan {
  Shared* shared = &own_counts;
  char under[PATH_MAX] = "";
  size_t under_length = 0;
  int kind = -1;  // kKinds: any
  uint64_t at = 0;
  bool on = false;  // and all after it
  int error = 0, signal = 0;
  bool halve = false;
  time_t clock = 0;
} plan;

[[noreturn]] void refuse(const char* what) {
  std::fprintf(stderr, "faults: %s\n", what);
  ::_exit(99);
}

int error_of(std::string_view name) {
  constexpr std::pair<std::string_view, int> kErrors[] = {{"ENOSPC", ENOSPC},
                                                          {"EIO", EIO},
                                                          {"EINTR", EINTR},
                                                          {"EAGAIN", EAGAIN},
                                                          {"EMFILE", EMFILE},
                                                          {"ENOMEM", ENOMEM},
                                                          {"EACCES", EACCES},
                                                          {"EROFS", EROFS},
                                                          {"EDQUOT", EDQUOT},
                                                          {"EBADF", EBADF},
                                                          {"ECONNRESET", ECONNRESET},
                                                          {"EPIPE", EPIPE},
                                                          {"ENOSYS", ENOSYS},
                                                          {"EPERM", EPERM},
                                                          {"ESTALE", ESTALE},
                                                          {"ENOLCK", ENOLCK},
                                                          {"EINVAL", EINVAL},
                                                          {"EOPNOTSUPP", EOPNOTSUPP},
                                                          {"EXDEV", EXDEV}};
  for (const auto& [known, error] : kErrors) {
    if (known == name) return error;
  }
  refuse("CHORUS_FAULT_EFFECT is none that is known");
}

[[gnu::constructor]] void read_plan() {
  const auto value = [](const char* name) {
    const char* const text = std::getenv(name);
    return text ? text : "";
  };
  std::snprintf(plan.under, sizeof plan.under, "%s", value("CHORUS_FAULT_UNDER"));
  plan.clock = std::atol(value("CHORUS_FAULT_CLOCK"));
  if (const char* counts = value("CHORUS_FAULT_COUNTS"); *counts) {
    const auto fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, counts, O_RDWR | O_CLOEXEC, 0));
    void* const memory = reinterpret_cast<void*>(
        ::syscall(SYS_mmap, nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (fd < 0 || memory == MAP_FAILED) refuse("CHORUS_FAULT_COUNTS cannot be mapped");
    ::syscall(SYS_close, fd);
    plan.shared = static_cast<Shared*>(memory);
  }
  const std::string_view call = value("CHORUS_FAULT_CALL"), effect = value("CHORUS_FAULT_EFFECT");
  char* end = nullptr;
  plan.at = std::strtoull(value("CHORUS_FAULT_AT"), &end, 10);
  plan.on = *end == '+';
  if (plan.at > 0) {
    const auto* const kind = std::find(std::begin(kNames), std::end(kNames), call);
    if (kind == std::end(kNames) && call != "any") refuse("CHORUS_FAULT_CALL is none that is known");
    plan.kind = static_cast<int>(kind - kNames);
    plan.halve = effect == "short";
    plan.signal = effect == "kill" ? SIGKILL : effect == "term" ? SIGTERM : 0;
    if (!plan.halve && plan.signal == 0) plan.error = error_of(effect);
  }
  plan.under_length = std::strlen(plan.under);  // last: until now nothing is below it
}

// ---- what counts

bool is_under(const char* full) {
  return plan.under_length > 0 && std::strncmp(full, plan.under, plan.under_length) == 0 &&
         (full[plan.under_length] == '/' || full[plan.under_length] == '\0');
}

/// Where a descriptor leads, as /proc says.
struct Link {
  char path[PATH_MAX] = "";
  explicit Link(int fd) {
    char name[32];
    std::snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const long n = ::syscall(SYS_readlink, name, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
  }
  [[nodiscard]] bool file() const { return is_under(path); }
  [[nodiscard]] bool socket() const { return std::strncmp(path, "socket:", 7) == 0; }
};

bool counts(int folder, const char* path) {
  if (plan.under_length == 0 || path == nullptr) return false;
  if (*path == '/') return is_under(path);
  if (folder != AT_FDCWD) return Link(folder).file();
  char here[PATH_MAX];
  return ::syscall(SYS_getcwd, here, sizeof here) > 0 && is_under(here);
}

}  // namespace

Verdict use(Kind kind, const char* where) {
  Shared& shared = *plan.shared;
  const uint64_t of_kind = ++shared.uses[kind], of_any = ++shared.any;
  const uint64_t n = plan.kind == kKinds ? of_any : of_kind;
  if (plan.at == 0 || (plan.kind != kKinds && plan.kind != kind) || (plan.on ? n < plan.at : n != plan.at))
    return {};
  if (shared.struck++ == 0) std::snprintf(shared.what, sizeof shared.what, "%s %s", kNames[kind], where);
  if (plan.signal != 0) ::kill(::getpid(), plan.signal);
  return {.error = plan.error, .halve = plan.halve};
}

Verdict use_path(Kind kind, int folder, const char* path) {
  return counts(folder, path) ? use(kind, path) : Verdict{};
}
Verdict use_file(Kind kind, int fd) {
  if (plan.under_length == 0) return {};
  const Link link(fd);
  return link.file() ? use(kind, link.path) : Verdict{};
}
Verdict use_stream(Kind of_file, Kind of_socket, int fd) {
  if (plan.under_length == 0) return {};
  const Link link(fd);
  return link.file() ? use(of_file, link.path) : link.socket() ? use(of_socket, link.path) : Verdict{};
}

/// Folders are opened to be listed by libstdc++, which does not try again.
Kind kind_of_open(int flags) {
  return (flags & O_TMPFILE) == O_DIRECTORY ? kList : kOpen;
}

time_t clock_error() {
  return plan.clock;
}

}  // namespace faults
