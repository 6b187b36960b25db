// Lines of text as translating and scoring take them.
#pragma once

#include <string>
#include <string_view>

#include "chorus/data/line_reader.h"

namespace chorus {

/// "FILE:17", for messages.
std::string place(const LineReader& reader);

/// The current line. UserError when it is longer than the reader holds.
std::string line_text(const LineReader& reader);

/// UserError naming `where` and the byte unless the text is UTF-8.
void check_utf8(std::string_view text, std::string_view where);

}  // namespace chorus
