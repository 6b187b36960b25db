// The cgroups of this process: that is how containers and batch systems limit what it may take.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <vector>

namespace chorus::inline base {

struct Cgroup {
  std::filesystem::path folder;
  bool second_version = false;
};

/// Returns the cgroups that may limit `controller` ("cpu", "memory"): the process's own and the ones above it, as far
/// as they can be seen, of versions 1 and 2. `root` has proc/self/cgroup, proc/self/mountinfo and the folders that
/// these name.
std::vector<Cgroup> cgroups_of(std::string_view controller, const std::filesystem::path& root = "/");

/// Bytes that they allow the process, and how many of those are not in use, the page cache that the kernel gives back
/// taken as free: of each the least of all cgroups, and the largest number where none limits it.
struct MemoryQuota {
  int64_t bytes = 0, left = 0;
};
MemoryQuota memory_quota(const std::filesystem::path& root = "/");

}  // namespace chorus::inline base
