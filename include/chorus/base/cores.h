// How many threads are worth starting here.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace chorus {

/// Threads for a process that has its host to itself: OMP_NUM_THREADS where that is set, else its cores(),
/// and no more than its cpu_quota(), rounded down; at least one.
int default_threads();

/// Whether the user has said how many threads each process is to have.
bool threads_are_set();

/// The cores this process may run on (its affinity), a character each: '1' where it may.
std::string cores();

/// How many cores' time the cgroups of this process allow it, which containers are limited by: the least of
/// its own and those above it, of versions 1 (cpu.cfs_quota_us) and 2 (cpu.max); infinite where none does.
/// `root` has proc/self/cgroup, proc/self/mountinfo and what they name; a file that is missing or is none of
/// these limits nothing.
double cpu_quota(const std::filesystem::path& root = "/");

/// Of the cores of one host, the share of a process that may run on `own` where `all` processes there (`own`
/// among them) may run on those, which have the time of `quota` cores together; rounded down, at least one.
int share_of_cores(std::string_view own, const std::vector<std::string_view>& all, double quota);

}  // namespace chorus
