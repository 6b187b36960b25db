#include "base/cores.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <sstream>
#include <vector>

#include <sched.h>

#include "base/text.h"

namespace chorus::inline base {
namespace fs = std::filesystem;
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// One of proc's names, where "\040" is a space.
std::string plain(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == '\\' && i + 3 < text.size();
    result += escaped
                  ? static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0')
                  : text[i];
    i += escaped ? 3 : 0;
  }
  return result;
}

bool has(std::string_view list, std::string_view word) {
  const std::vector<std::string_view> words = split(list, ',');
  return std::ranges::find(words, word) != words.end();
}

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

/// A hierarchy of cgroups: where it is mounted, and which of its folders that is.
struct Mount {
  std::string top, place;
  bool second_version = false;
};

/// Those that may limit the CPU, from lines "36 25 0:31 TOP PLACE rw,... - cgroup2 cgroup2 rw,...".
std::vector<Mount> mounts(const fs::path& root) {
  std::vector<Mount> found;
  for (const std::string& line : lines_of(root / "proc/self/mountinfo")) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream fields(line), others(line.substr(dash + 3));
    std::string skipped, type, options;
    Mount mount;
    fields >> skipped >> skipped >> skipped >> mount.top >> mount.place;
    others >> type >> skipped >> options;
    mount.second_version = type == "cgroup2";
    if (!mount.second_version && (type != "cgroup" || !has(options, "cpu"))) continue;
    mount.top = plain(mount.top);
    mount.place = plain(mount.place);
    found.push_back(std::move(mount));
  }
  return found;
}

/// This process's folder in a hierarchy, from lines "4:cpu,cpuacct:/docker/1f" and "0::/user.slice".
std::string own_folder(const fs::path& root, bool second_version) {
  for (const std::string& line : lines_of(root / "proc/self/cgroup")) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    if (second_version ? controllers.empty() : has(controllers, "cpu")) return line.substr(second + 1);
  }
  return "/";
}

}  // namespace

double cpu_quota(const fs::path& root) {
  double least = kNoLimit;
  for (const Mount& mount : mounts(root)) {
    // In a container the mount may begin at the container's own cgroup, which is then what "/" means here.
    const std::string own = own_folder(root, mount.second_version);
    const bool below = mount.top == "/" || own == mount.top || own.starts_with(mount.top + "/");
    fs::path inside = !below ? "" : mount.top == "/" ? own : own.substr(mount.top.size());
    inside = inside.relative_path().lexically_normal();
    const fs::path top = root / fs::path(mount.place).relative_path();
    for (; !inside.empty() && inside != "."; inside = inside.parent_path())
      least = std::min(least, limit_of(top / inside, mount.second_version));
    least = std::min(least, limit_of(top, mount.second_version));
  }
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
