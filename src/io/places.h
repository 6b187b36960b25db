// What there is under a name: unlike std::filesystem's with an error code, these tell what is not there from what
// cannot be looked at.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace chorus::inline io {

/// Whether there is anything; a link is followed. Errors as read_file() where that cannot be told.
[[nodiscard]] bool is_there(const std::filesystem::path& path);

/// UserError, as writing would say it, where no file can be made under that name: for what begins with long work.
void check_can_write(const std::filesystem::path& path);

/// The names in a folder, ascending; none where there is no such folder. Errors as read_file().
[[nodiscard]] std::vector<std::string> names_in(const std::filesystem::path& folder);

}  // namespace chorus::inline io
