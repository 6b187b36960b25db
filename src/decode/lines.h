// Lines of text as translating and scoring take them.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chorus/comm/group.h"
#include "chorus/data/line_reader.h"

namespace chorus {

/// "FILE:17", for messages.
std::string place(const LineReader& reader);

/// The current line. UserError when it is longer than the reader holds.
std::string line_text(const LineReader& reader);

/// UserError naming `where` and the byte unless the text is UTF-8.
void check_utf8(std::string_view text, std::string_view where);

/// Texts as one, and back.
std::string pack(std::span<const std::string> texts);
std::vector<std::string> unpack(std::string_view packed);

/// Ranks share the texts that rank 0 has (what others give is not looked at): rank r takes r, r + ranks, ...,
/// makes a text of each with `work`, and all get what all have made, in order.
std::vector<std::string> share(
    Group& group, std::span<const std::string> texts,
    const std::function<std::vector<std::string>(std::span<const std::string> own)>& work);

}  // namespace chorus
