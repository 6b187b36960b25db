// A model folder that gets another file.
#pragma once

#include <filesystem>
#include <functional>

namespace chorus::inline formats {

/// Lets `change` write files (each by rename) into a copy of a model folder of ours and of all that is in it, which
/// then takes its place: at any moment one of them is there, whole. Errors as check_is_rewritable() and AtomicFolder.
void rewrite_folder(const std::filesystem::path& folder,
                    const std::function<void(const std::filesystem::path& copy)>& change);

}  // namespace chorus::inline formats
