// Lines of text as translating and scoring take them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/group.h"
#include "data/line_reader.h"

namespace chorus::inline decode {

/// Returns "FILE:17", for messages.
std::string place(const LineReader& reader);

/// Returns what is wrong with the current line, and where: it is longer than the reader holds. "": nothing.
std::string fault_of(const LineReader& reader);

/// Returns "WHERE: byte N (0x..) is not UTF-8" for the first such byte; "": all is UTF-8.
std::string utf8_fault(std::string_view text, std::string_view where);

/// Returns the text with U+FFFD in place of every ill-formed sequence.
std::string as_utf8(std::string_view text);

/// Whether nothing in it could be translated: white space, characters that do not show, marks without a
/// letter, and those that stand for something that is not there (U+FFFC, U+FFFD).
bool is_blank(std::string_view text);

/// Returns the number, from 0, of the word that text right behind `before` begins or continues. Words are separated
/// by white space.
int64_t first_word(std::string_view before);

/// Whether the tokens end as a loop does: with the same ones three times or more, six tokens at least.
bool ends_in_loop(std::span<const int32_t> tokens);

}  // namespace chorus::inline decode
