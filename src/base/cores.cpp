#include "base/cores.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <vector>

#include <sched.h>

#include "base/cgroups.h"

namespace chorus::inline base {
namespace fs = std::filesystem;
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// "150000 100000" is 1.5; "max 100000" and -1 are no limit, as is what is no such number.
double limit(const std::string& quota, const std::string& period) {
  const double q = std::atof(quota.c_str()), p = std::atof(period.c_str());
  return q > 0 && p > 0 ? q / p : kNoLimit;
}

double limit_of(const fs::path& folder, bool second_version) {
  std::string quota, period;
  std::ifstream file(folder / (second_version ? "cpu.max" : "cpu.cfs_quota_us"));
  file >> quota;
  if (second_version) {
    file >> period;
  } else {
    std::ifstream(folder / "cpu.cfs_period_us") >> period;
  }
  return limit(quota, period);
}

}  // namespace

double cpu_quota(const fs::path& root) {
  double least = kNoLimit;
  for (const auto& [folder, second_version] : cgroups_of("cpu", root))
    least = std::min(least, limit_of(folder, second_version));
  return least;
}

std::string cores() {
  for (size_t size = 1024;; size *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(size),
                                                               [](cpu_set_t* s) { CPU_FREE(s); });
    if (!set) break;
    if (::sched_getaffinity(0, CPU_ALLOC_SIZE(size), set.get()) == 0) {
      std::string list(size, '0');
      for (size_t i = 0; i < size; ++i) {
        if (CPU_ISSET_S(i, CPU_ALLOC_SIZE(size), set.get())) list[i] = '1';
      }
      return list.substr(0, list.find_last_of('1') + 1);
    }
    if (errno != EINVAL) break;  // EINVAL: the host has more cores than that
  }
  return "1";
}

int share_of_cores(std::string_view own, const std::vector<std::string_view>& all, double quota) {
  double share = 0;
  for (size_t i = 0; i < own.size(); ++i) {
    const auto users =
        std::ranges::count_if(all, [i](std::string_view o) { return i < o.size() && o[i] == '1'; });
    if (own[i] == '1') share += 1 / static_cast<double>(std::max<int64_t>(users, 1));
  }
  share = std::min(share, quota / static_cast<double>(std::max<size_t>(all.size(), 1)));
  return std::max(1, static_cast<int>(share + 1e-6));  // three thirds are one
}

bool threads_are_set() {
  const char* const value = std::getenv("OMP_NUM_THREADS");
  return value && std::atoi(value) > 0;
}

int default_threads() {
  if (threads_are_set()) return std::atoi(std::getenv("OMP_NUM_THREADS"));
  const std::string own = cores();
  return share_of_cores(own, {own}, cpu_quota());
}

}  // namespace chorus::inline base
