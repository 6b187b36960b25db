// Messages as a terminal may show them.
#pragma once

#include <string>
#include <string_view>

namespace chorus::inline base {

/// One line of at most some 2000 bytes, which one_line() makes of the whole message: a message holds names of
/// files, values and words of others, and none of them may move the cursor or fill the screen.
std::string message_line(std::string_view message);

}  // namespace chorus::inline base
