// Strings of user interfaces, made into plain text that is fit to learn translation from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace chorus::inline corpus {

/// `text` (valid UTF-8) without what only a user interface needs:
/// - Mnemonics: a single `_`, `~` or `&` before a letter or digit is removed ("_File", "Sa~ve"), and so is
///   the whole of "(_F)", which follows Chinese, Japanese and Korean text. It stays where it is something
///   else: in a placeholder ("%FILE_NAME"), an identifier ("VAR_POP"), an address ("http://a/b_c"), when it
///   is there twice ("_underline_"), or between capitals ("R&D"). Doubled ("__", "&&") it is one literal
///   character.
/// - Markup: HTML, Pango and help tags ("<b>", "</a>", "<font size=1>") are removed; those that break the
///   line become a space. Other words in angle brackets ("<User settings>") are text. The entities &amp; &lt;
///   &gt; &quot; &apos; &nbsp; are decoded.
/// - Placeholders ("%1", "%s", "$(ARG1)", "%PRODUCTNAME", "%{link}", "#1") stay as they are.
/// - White space of any kind becomes one space, and so does each control character; soft hyphens and marks of
///   writing direction are removed.
std::string clean_ui_text(std::string_view text);

/// Bytes of the placeholder at the start of `text`; 0 when there is none.
size_t placeholder_length(std::string_view text);

/// Whether a letter of any script occurs outside placeholders.
bool has_letters(std::string_view text);

/// Words of a text in a script with spaces: runs without white space that hold a letter, outside
/// placeholders.
int64_t count_words(std::string_view text);

/// The letters, marks and digits of `text`, case-folded and compatibility-normalised (Unicode's
/// NFKC_Casefold): equal for texts that differ in case, white space and punctuation only.
std::string fold_text(std::string_view text);

/// Folds like fold_text, without the digits: also equal for texts that differ in numbers only.
std::string fold_letters(std::string_view text);

}  // namespace chorus::inline corpus
