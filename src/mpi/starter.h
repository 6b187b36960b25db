// What mpirun and srun start, seen from outside: for `chorus launch`.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline mpi {

enum class Starter { mpirun, srun };
/// Returns the name of its program.
const char* name_of(Starter starter);

struct Host {
  std::string name;
  int slots = 1;  // ranks that it takes
};

/// "a:4,b:4", as mpirun has it; without a number a host takes one. UserError naming `option`.
std::vector<Host> parse_hosts(const std::string& text, std::string_view option);
int slots_of(std::span<const Host> hosts);

/// The words that start `ranks` processes of `program`, on these hosts; where none are given, where the starter would.
std::vector<std::string> start_line(Starter starter, std::span<const Host> hosts, int ranks,
                                    const std::vector<std::string>& program);

/// Returns the hosts on which the starter can start a process within `seconds`. All are asked at once.
std::vector<Host> hosts_that_answer(Starter starter, std::span<const Host> hosts, double seconds);

struct Outcome {
  int code = 0;    // its exit code; 128 and the signal that ended it
  int signal = 0;  // SIGINT or SIGTERM, where this process got one and passed it on
};

/// Runs a program that is looked for in PATH, without standard input, and waits for it. What it writes on standard
/// error is passed on; from the first line that is an error of chorus's it has `grace` seconds to end, and is killed
/// then: mpirun waits for ever for a host that fell silent. It ends with this process. UserError where there is no such
/// program. For one thread at a time; meanwhile SIGINT, SIGTERM and SIGCHLD are blocked in it.
Outcome run_and_watch(const std::vector<std::string>& words, double grace);

}  // namespace chorus::inline mpi
