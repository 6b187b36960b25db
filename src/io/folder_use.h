// Whether somebody is at work in a folder, for those who only look on.
#pragma once

#include <filesystem>

namespace chorus::inline io {

/// Whether a process, on whatever host, has the FolderLock of a folder. For an instant it keeps others from taking
/// it. False where there is none, or where it cannot be told.
[[nodiscard]] bool is_in_use(const std::filesystem::path& folder);

}  // namespace chorus::inline io
