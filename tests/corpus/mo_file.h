// Compiled gettext catalogs made by hand, for tests.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace chorus {

using MoStrings =
    std::vector<std::pair<std::string, std::string>>;  // id as stored (context \4 id \0 plural), text

/// The bytes of a catalog; the header entry is one of `strings`, when it shall have one.
inline std::string mo_file(const MoStrings& strings, bool big_endian = false) {
  std::string bytes;
  const auto word = [&](size_t value) {
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> 8 * (big_endian ? 3 - i : i) & 0xFF);
  };
  constexpr size_t kHeader = 28;
  const size_t count = strings.size();
  for (const size_t value :
       {size_t{0x950412DE}, size_t{0}, count, kHeader, kHeader + 8 * count, size_t{0}, size_t{0}}) {
    word(value);
  }
  size_t offset = kHeader + 16 * count;
  const auto row = [&](const std::string& text) {
    word(text.size());
    word(offset);
    offset += text.size() + 1;
  };
  for (const auto& [id, text] : strings) row(id);
  for (const auto& [id, text] : strings) row(text);
  for (const auto& [id, text] : strings) bytes += id + '\0';
  for (const auto& [id, text] : strings) bytes += text + '\0';
  return bytes;
}

}  // namespace chorus
