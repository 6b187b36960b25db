// Lines of text as translating and scoring take them.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/group.h"
#include "data/line_reader.h"

namespace chorus::inline decode {

/// "FILE:17", for messages.
std::string place(const LineReader& reader);

/// What is wrong with the current line, and where: it is longer than the reader holds. "": nothing.
std::string fault_of(const LineReader& reader);

/// The first byte that is not UTF-8, and where; "": all is.
std::string utf8_fault(std::string_view text, std::string_view where);

/// The text with U+FFFD in place of every ill-formed sequence.
std::string as_utf8(std::string_view text);

/// Whether nothing in it could be translated: white space, characters that do not show, marks without a
/// letter, and those that stand for something that is not there (U+FFFC, U+FFFD).
bool is_blank(std::string_view text);

/// Which word, from 0, text behind this begins with or goes on with. White space is between words.
int64_t first_word(std::string_view before);

/// Whether the tokens end as a loop does: with the same ones three times or more, six tokens at least.
bool ends_in_loop(std::span<const int32_t> tokens);

/// Packs texts into one, and unpacks them.
std::string pack(std::span<const std::string> texts);
std::vector<std::string> unpack(std::string_view packed);

/// Ranks share the texts that rank 0 has (what others give is not looked at): rank r takes r, r + ranks, ...,
/// makes a text of each with `work`, and all get what all have made, in order.
std::vector<std::string> share(
    Group& group, std::span<const std::string> texts,
    const std::function<std::vector<std::string>(std::span<const std::string> own)>& work);

}  // namespace chorus::inline decode
