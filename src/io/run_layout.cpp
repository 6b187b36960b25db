#include "io/run_layout.h"

#include <algorithm>
#include <string>

#include "io/places.h"

namespace chorus::inline io {
namespace fs = std::filesystem;

std::vector<fs::path> checkpoint_folders(const fs::path& run) {
  std::vector<fs::path> folders;
  for (const std::string& name : names_in(run / kRunCheckpoints))
    if (name.starts_with(kCheckpointPrefix)) folders.push_back(run / kRunCheckpoints / name);
  std::ranges::sort(folders, [](const fs::path& a, const fs::path& b) {  // step-00000999, step-100000000
    const size_t x = a.native().size(), y = b.native().size();
    return x != y ? x < y : a < b;
  });
  return folders;
}

}  // namespace chorus::inline io
