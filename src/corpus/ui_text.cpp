#include "corpus/ui_text.h"

#include <algorithm>
#include <array>
#include <utility>

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>

#include "base/error.h"
#include "base/utf8.h"

namespace chorus::inline corpus {
namespace {

bool is_upper(char c) {
  return c >= 'A' && c <= 'Z';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name(char c) {
  return is_upper(c) || is_lower(c) || is_digit(c) || c == '_';
}

char32_t code_point_at(std::string_view text, size_t position) {
  return position < text.size() ? next_code_point(text, position) : 0;
}

bool is_alnum_at(std::string_view text, size_t position) {
  return u_isalnum(static_cast<UChar32>(code_point_at(text, position))) != 0;
}

/// Bytes of `text` from `begin` on that satisfy `test`.
template <class Test>
size_t run(std::string_view text, size_t begin, Test test) {
  size_t end = begin;
  while (end < text.size() && test(text[end])) ++end;
  return end - begin;
}

/// "{name}" or "(NAME)" at `begin`: its length, else 0.
size_t bracketed(std::string_view text, size_t begin, char open, char close) {
  if (begin >= text.size() || text[begin] != open) return 0;
  const size_t inside = run(text, begin + 1, is_name);
  const size_t end = begin + 1 + inside;
  return inside > 0 && end < text.size() && text[end] == close ? inside + 2 : 0;
}

/// "&amp;" and the like at the start of `text`: the character and the entity's length.
std::pair<char, size_t> entity(std::string_view text) {
  constexpr std::pair<std::string_view, char> kEntities[] = {
      {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}, {"&nbsp;", ' '}};
  for (const auto& [name, character] : kEntities) {
    if (text.starts_with(name)) return {character, name.size()};
  }
  return {'\0', 0};
}

struct Tag {
  size_t length = 0;  // 0: not markup
  bool breaks_line = false;
};

/// A tag of HTML, Pango or LibreOffice's help at the start of `text`, in which there is a '>'.
Tag markup_tag(std::string_view text) {
  constexpr std::array<std::string_view, 14> kBreaking = {"br", "p",  "li", "ul", "ol", "div", "hr",
                                                          "tr", "td", "h1", "h2", "h3", "h4",  "table"};
  constexpr std::array<std::string_view, 20> kInline = {
      "b",   "i",   "u",     "s",    "a",    "em",   "tt",     "sub", "sup",  "font",
      "big", "img", "small", "span", "code", "emph", "strong", "pre", "html", "body"};
  size_t begin = 1;
  if (begin < text.size() && text[begin] == '/') ++begin;
  const size_t length = run(text, begin, [](char c) { return is_upper(c) || is_lower(c) || is_digit(c); });
  std::string name(text.substr(begin, length));
  std::ranges::transform(name, name.begin(),
                         [](char c) { return is_upper(c) ? static_cast<char>(c - 'A' + 'a') : c; });
  const bool breaks = std::ranges::find(kBreaking, name) != kBreaking.end();
  if (!breaks && std::ranges::find(kInline, name) == kInline.end()) return {};
  const char after = begin + length < text.size() ? text[begin + length] : '\0';
  if (after != '>' && after != ' ' && after != '/') return {};
  return {text.find('>', begin) + 1, breaks};
}

/// Whether the marker at `position`, the only one of its kind in `text`, makes the next character a mnemonic.
bool is_mnemonic(std::string_view text, size_t position) {
  const size_t next = position + 1;
  if (!is_alnum_at(text, next)) return false;
  size_t word = position, word_end = next;
  while (word > 0 && text[word - 1] != ' ' && text[word - 1] != '\n') --word;
  while (word_end < text.size() && text[word_end] != ' ' && text[word_end] != '\n') ++word_end;
  const std::string_view token = text.substr(word, word_end - word);
  if (token.find("://") != std::string_view::npos || token.find('@') != std::string_view::npos) return false;

  const size_t left = [&] {
    size_t begin = position;
    while (begin > word && is_name(text[begin - 1])) --begin;
    return position - begin;
  }();
  const size_t right = run(text, next, is_name);
  const char before = left < position ? text[position - left - 1] : ' ';
  if (left > 0 && before == '<') return false;  // <wizard_name>
  if (text[position] == '&') {
    // "R&D", "Date&Time", "AT&T": inside a word a mnemonic is followed by a small letter.
    return left == 0 || !(is_upper(text[next]) || is_digit(text[next]));
  }
  // An identifier: VAR_POP, but not HT_ML.
  constexpr size_t kIdentifierPart = 3;
  const bool capitals = std::ranges::none_of(text.substr(position - left, left + 1 + right), is_lower);
  return !(capitals && left >= kIdentifierPart && right >= kIdentifierPart);
}

/// Bytes of "(_F)" at the start of `text`, in ASCII or full-width brackets; 0 when it is something else.
size_t bracketed_mnemonic(std::string_view text) {
  constexpr std::string_view kOpen = "（", kClose = "）";
  size_t i = text.starts_with('(') ? 1 : text.starts_with(kOpen) ? kOpen.size() : 0;
  if (i == 0 || i >= text.size() || (text[i] != '_' && text[i] != '~' && text[i] != '&') ||
      !is_alnum_at(text, i + 1))
    return 0;
  ++i;
  next_code_point(text, i);
  if (text.substr(i).starts_with(')')) return i + 1;
  return text.substr(i).starts_with(kClose) ? i + kClose.size() : 0;
}

/// Markup and entities out, placeholders and all else as they were.
std::string without_markup(std::string_view text) {
  std::string result;
  // Known before, or each '<' behind it would be looked after to the end.
  const size_t last_end = text.rfind('>');
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '<' && last_end != text.npos && i < last_end) {
      const Tag tag = markup_tag(text.substr(i));
      if (tag.length > 0) {
        if (tag.breaks_line) result += ' ';
        i += tag.length;
        continue;
      }
    } else if (text[i] == '&') {
      if (const auto [character, length] = entity(text.substr(i)); length > 0) {
        // Doubled, so that it is not taken for a mnemonic afterwards.
        result.append(character == '&' ? 2 : 1, character);
        i += length;
        continue;
      }
    }
    result += text[i++];
  }
  return result;
}

std::string without_mnemonics(std::string_view text) {
  constexpr std::string_view kMarkers = "_~&";
  std::array<int, 3> single = {};  // markers that are neither doubled nor in a placeholder
  const auto scan = [&](const auto& plain, const auto& marker) {
    for (size_t i = 0; i < text.size();) {
      const size_t kind = kMarkers.find(text[i]);
      const size_t verbatim = placeholder_length(text.substr(i));
      if (verbatim > 0) {
        plain(text.substr(i, verbatim));
        i += verbatim;
      } else if (kind == std::string_view::npos) {
        plain(text.substr(i++, 1));
      } else if (i + 1 < text.size() && text[i + 1] == text[i]) {
        plain(text.substr(i, 1));
        i += 2;
      } else {
        marker(kind, i++);
      }
    }
  };
  scan([](std::string_view) {}, [&](size_t kind, size_t) { ++single[kind]; });
  std::string result;
  scan([&](std::string_view piece) { result += piece; },
       [&](size_t kind, size_t position) {
         if (single[kind] != 1 || !is_mnemonic(text, position)) result += text[position];
       });
  return result;
}

std::string without_bracketed_mnemonics(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size();) {
    const size_t length = bracketed_mnemonic(text.substr(i));
    if (length == 0) {
      result += text[i++];
    } else {
      while (result.ends_with(' ')) result.pop_back();
      i += length;
    }
  }
  return result;
}

bool is_invisible(char32_t c) {
  return c == 0xAD || c == 0xFEFF || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

std::string with_single_spaces(std::string_view text) {
  constexpr char32_t kZeroWidthSpace = 0x200B;  // parts words in Khmer, Thai and others: kept
  std::string result;
  bool space = false;
  for (size_t i = 0; i < text.size();) {
    const char32_t c = next_code_point(text, i);
    if (is_invisible(c)) continue;
    if ((is_file_space(c) && c != kZeroWidthSpace) || u_charType(static_cast<UChar32>(c)) == U_CONTROL_CHAR) {
      space = true;
      continue;
    }
    if (space && !result.empty()) result += ' ';
    space = false;
    append_utf8(result, c);
  }
  return std::string(trim_space(result));
}

template <class Keep>
std::string folded(std::string_view text, Keep keep) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* fold = icu::Normalizer2::getNFKCCasefoldInstance(status);
  std::string normal;
  icu::StringByteSink<std::string> sink(&normal);
  if (U_SUCCESS(status)) {
    fold->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr,
                        status);
  }
  if (U_FAILURE(status)) throw Error("ICU cannot fold text: {}", u_errorName(status));
  std::string result;
  for (size_t i = 0; i < normal.size();) {
    const char32_t c = next_code_point(normal, i);
    if (keep(static_cast<UChar32>(c))) append_utf8(result, c);
  }
  return result;
}

bool is_letter_or_mark(UChar32 c) {
  return (U_GET_GC_MASK(c) & (U_GC_L_MASK | U_GC_M_MASK)) != 0;
}

}  // namespace

size_t placeholder_length(std::string_view text) {
  if (text.size() < 2) return 0;
  const auto capitals = [](char c) { return is_upper(c) || is_digit(c) || c == '_'; };
  if (text[0] == '%') {
    if (const size_t length = bracketed(text, 1, '{', '}'); length > 0) return 1 + length;
    if (const size_t length = run(text, 1, capitals); length > 0 && (is_digit(text[1]) || length > 1)) {
      const size_t end = 1 + length;
      if (end + 1 < text.size() && text[end] == '$') return end + 2;                       // %1$s
      return end < text.size() && text[end] == '%' && !is_digit(text[1]) ? end + 1 : end;  // %NAME%
    }
    size_t end =
        1 + run(text, 1, [](char c) { return c == 'l' || c == 'z' || c == '.' || c == '*' || c == '-'; });
    if (end < text.size() && std::string_view("sdiufgxc").find(text[end]) != std::string_view::npos &&
        !is_alnum_at(text, end + 1)) {
      return end + 1;
    }
    return 0;
  }
  if (text[0] == '$') {
    if (const size_t length = bracketed(text, 1, '(', ')'); length > 0) return 1 + length;
    if (const size_t length = bracketed(text, 1, '{', '}'); length > 0) return 1 + length;
    if (const size_t digits = run(text, 1, is_digit); digits > 0) return 1 + digits;
    const size_t name = run(text, 1, is_name);
    if (name > 0 && 1 + name < text.size() && text[1 + name] == '$') return name + 2;  // $name$
    const size_t length = run(text, 1, capitals);
    return length > 1 ? 1 + length : 0;  // $NAME
  }
  if (text[0] == '#') {
    if (const size_t digits = run(text, 1, is_digit); digits > 0) return 1 + digits;
    const size_t name = run(text, 1, is_name);
    return name > 0 && 1 + name < text.size() && text[1 + name] == '#' ? name + 2 : 0;  // #name#
  }
  return 0;
}

std::string clean_ui_text(std::string_view text) {
  return with_single_spaces(without_mnemonics(without_bracketed_mnemonics(without_markup(text))));
}

bool has_letters(std::string_view text) {
  return count_words(text) > 0;
}

int64_t count_words(std::string_view text) {
  int64_t words = 0;
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const size_t verbatim = placeholder_length(text.substr(i));
    if (verbatim > 0) {
      i += verbatim;
      continue;
    }
    const char32_t c = next_code_point(text, i);
    if (is_file_space(c)) {
      in_word = false;
    } else if (!in_word && u_isalpha(static_cast<UChar32>(c)) != 0) {
      in_word = true;
      ++words;
    }
  }
  return words;
}

std::string fold_text(std::string_view text) {
  return folded(text,
                [](UChar32 c) { return is_letter_or_mark(c) || (U_GET_GC_MASK(c) & U_GC_N_MASK) != 0; });
}

std::string fold_letters(std::string_view text) {
  return folded(text, is_letter_or_mark);
}

}  // namespace chorus::inline corpus
