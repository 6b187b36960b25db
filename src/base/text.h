// Text for people: pieces, near misses, and numbers as one reads them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline base {

/// The pieces between separators; "" gives one empty piece. They point into `text`.
std::vector<std::string_view> split(std::string_view text, char separator);
std::string join(std::span<const std::string> pieces, std::string_view separator);
/// Without blanks, tabs and line ends at both ends.
std::string_view trim(std::string_view text);
/// Text from a file or a user, for a message of one line: control characters are written "\x0a".
std::string one_line(std::string_view text);

/// How many single-byte insertions, deletions, replacements and swaps of neighbours turn a into b.
size_t edit_distance(std::string_view a, std::string_view b);
/// The candidate a person most likely meant by `word`: at most a third of its bytes away. Empty when none is
/// near.
std::string nearest(std::string_view word, std::span<const std::string> candidates);
/// "; did you mean 'candidate'?" with the nearest one, or "" when none is near.
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

/// "1 rank", "3 ranks"; with `plural` where an s is not enough: "2 processes".
std::string counted(int64_t number, std::string_view noun, std::string_view plural = {});
/// Three significant digits and a decimal unit: 999, "12.3k", "4.56M", "1.2G".
std::string human_count(double number);
/// Binary units: "512 B", "1.2 GiB".
std::string human_bytes(uint64_t bytes);
/// "4.2s", "42s", "3m12s", "5h07m", "2d03h".
std::string human_seconds(double seconds);

}  // namespace chorus::inline base
