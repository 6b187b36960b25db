// How many threads are worth starting here.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline base {

/// Threads for a process that has its host to itself: OMP_NUM_THREADS where that is set, else its cores(),
/// and no more than its cpu_quota(), rounded down; at least one.
int default_threads();

/// Whether the user has said how many threads each process is to have.
bool threads_are_set();

/// The cores this process may run on (its affinity), one character per core: '1' where it may.
std::string cores();

/// How much time the cgroups of this process allow it, in cores: that is how containers are limited. The
/// least of its own limit and those above it, of versions 1 (cpu.cfs_quota_us) and 2 (cpu.max); infinite
/// where there is none. `root` has proc/self/cgroup, proc/self/mountinfo and the files that these name; a
/// file that is missing or is not one of them limits nothing.
double cpu_quota(const std::filesystem::path& root = "/");

/// Returns how many cores of one host are the share of a process that may run on `own`, when `all` processes there
/// (`own` among them) may run on those, and have the time of `quota` cores together; rounded down, at least one.
int share_of_cores(std::string_view own, const std::vector<std::string_view>& all, double quota);

}  // namespace chorus::inline base
