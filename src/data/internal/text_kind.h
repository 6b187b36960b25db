// What a file is that is no UTF-8 text, told by its first bytes.
#pragma once

#include <filesystem>
#include <string_view>

namespace chorus::inline data {

/// UserError naming `path` when a file that begins with `head` is an archive, compressed in a way that is not
/// read here, or text in UTF-16 or UTF-32, with a byte order mark or without.
void refuse_what_is_no_text(std::string_view head, const std::filesystem::path& path);

/// Whether more bytes would have to be seen to know.
bool may_be_no_text(std::string_view head);

/// Whether `head` is a part of `magic`, from its start, and not all of it.
inline bool begins_like(std::string_view head, std::string_view magic) {
  return head.size() < magic.size() && magic.starts_with(head);
}

}  // namespace chorus::inline data
