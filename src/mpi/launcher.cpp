#include "mpi/launcher.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <unistd.h>

namespace chorus::inline mpi {

namespace {

struct Process {
  std::string name;
  pid_t parent = 0;
};

/// Reads a process from /proc/PID/stat: "PID (name) state parent ...".
Process process(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  std::getline(file, line);
  const size_t begin = line.find('('), end = line.rfind(") ");
  if (begin == std::string::npos || end == std::string::npos || end + 4 > line.size()) return {};
  return {line.substr(begin + 1, end - begin - 1), static_cast<pid_t>(std::atoi(line.c_str() + end + 4))};
}

std::mutex mutex;
int held = -1;  // the pipe by which its holder knows that this process lives

}  // namespace

pid_t launcher() {
  if (!std::getenv("OMPI_COMM_WORLD_SIZE")) return 0;
  constexpr std::array<std::string_view, 6> kNames = {"mpirun", "mpiexec", "orterun",
                                                      "orted",  "prterun", "prted"};
  for (pid_t pid = ::getppid(); pid > 0;) {
    const Process found = process(pid);
    for (const std::string_view name : kNames) {  // "mpirun.openmpi" too
      if (found.name == name || found.name.starts_with(fmt::format("{}.", name))) return pid;
    }
    pid = found.parent;
  }
  return 0;
}

void hold_launcher(pid_t launcher, int seconds) {
  const std::lock_guard lock(mutex);
  std::array<int, 2> ends = {};
  if (held >= 0 || ::pipe2(ends.data(), O_CLOEXEC) != 0) return;
  // In a session of its own, since signals go to this process's group.
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&files, ends[0], STDIN_FILENO);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  std::string shell = "sh", option = "-c", pid = std::to_string(launcher), wait = std::to_string(seconds),
              commands =
                  "kill -STOP $0; "
                  "[ \"$(timeout $1 head -c 1)\" = k ] && read -r nothing; "
                  "kill -CONT $0";
  std::array<char*, 6> arguments = {shell.data(), option.data(), commands.data(),
                                    pid.data(),   wait.data(),   nullptr};
  pid_t holder = 0;
  const bool holds = ::posix_spawn(&holder, "/bin/sh", &files, &attributes, arguments.data(), environ) == 0;
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  ::close(ends[0]);
  holds ? static_cast<void>(held = ends[1]) : static_cast<void>(::close(ends[1]));
}

void keep_launcher_held() {
  const std::lock_guard lock(mutex);
  if (held >= 0 && ::write(held, "k", 1) < 0) {
    // Its holder is gone, and has let it go on.
  }
}

void release_launcher() {
  const std::lock_guard lock(mutex);
  if (held >= 0) ::close(held);
  held = -1;
}

}  // namespace chorus::inline mpi
