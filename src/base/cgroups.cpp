#include "base/cgroups.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>

#include "base/text.h"

namespace chorus::inline base {
namespace fs = std::filesystem;
namespace {

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

/// A hierarchy of cgroups: where it is mounted, and which of its folders that is.
struct Mount {
  std::string top, place;
  bool second_version = false;
};

/// Returns the mounts that may limit a controller, from lines "36 25 0:31 TOP PLACE rw,... - cgroup2 cgroup2 rw,...".
std::vector<Mount> mounts(std::string_view controller, const fs::path& root) {
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
    if (!mount.second_version && (type != "cgroup" || !has(options, controller))) continue;
    mount.top = plain(mount.top);
    mount.place = plain(mount.place);
    found.push_back(std::move(mount));
  }
  return found;
}

/// This process's folder in a hierarchy, from lines "4:cpu,cpuacct:/docker/1f" and "0::/user.slice".
std::string own_folder(std::string_view controller, const fs::path& root, bool second_version) {
  for (const std::string& line : lines_of(root / "proc/self/cgroup")) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string_view controllers = std::string_view(line).substr(first + 1, second - first - 1);
    if (second_version ? controllers.empty() : has(controllers, controller)) return line.substr(second + 1);
  }
  return "/";
}

/// The first number of a file, or the one behind a word; none where there is none, as in "max".
std::optional<int64_t> number_in_file(const fs::path& file, std::string_view word = "") {
  for (const std::string& line : lines_of(file)) {
    std::istringstream fields(line);
    std::string name;
    int64_t number = 0;
    if (!word.empty() && !(fields >> name && name == word)) continue;
    return fields >> number ? std::optional(number) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Cgroup> cgroups_of(std::string_view controller, const fs::path& root) {
  std::vector<Cgroup> found;
  for (const Mount& mount : mounts(controller, root)) {
    // In a container the mount may begin at the container's own cgroup, which is then what "/" means here.
    const std::string own = own_folder(controller, root, mount.second_version);
    const bool below = mount.top == "/" || own == mount.top || own.starts_with(mount.top + "/");
    fs::path inside = !below ? "" : mount.top == "/" ? own : own.substr(mount.top.size());
    inside = inside.relative_path().lexically_normal();
    const fs::path top = root / fs::path(mount.place).relative_path();
    for (; !inside.empty() && inside != "."; inside = inside.parent_path())
      found.push_back({top / inside, mount.second_version});
    found.push_back({top, mount.second_version});
  }
  return found;
}

MemoryQuota memory_quota(const fs::path& root) {
  constexpr int64_t kNone = std::numeric_limits<int64_t>::max();
  MemoryQuota least = {.bytes = kNone, .left = kNone};
  for (const auto& [folder, second_version] : cgroups_of("memory", root)) {
    const auto limit = number_in_file(folder / (second_version ? "memory.max" : "memory.limit_in_bytes"));
    if (!limit || *limit <= 0) continue;
    least.bytes = std::min(least.bytes, *limit);
    const auto used = number_in_file(folder / (second_version ? "memory.current" : "memory.usage_in_bytes"));
    if (!used) continue;
    const int64_t cache =
        number_in_file(folder / "memory.stat", second_version ? "inactive_file" : "total_inactive_file")
            .value_or(0);
    least.left = std::min(least.left, std::max<int64_t>(*limit - (*used - cache), 0));
  }
  return least;
}

}  // namespace chorus::inline base
