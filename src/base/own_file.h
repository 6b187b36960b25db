// Files that chorus changes in place: locks and logs.
#pragma once

#include <filesystem>

namespace chorus {

/// open(2) with `flags` of a regular file by that very name: a symbolic link there is not followed, so what
/// it leads to stays as it is. UserError naming the path when it is a link, no regular file, or cannot be
/// opened; else Error.
int open_own_file(const std::filesystem::path& path, int flags);

}  // namespace chorus
