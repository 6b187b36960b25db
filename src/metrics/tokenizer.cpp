#include "metrics/tokenizer.h"

#include <algorithm>
#include <array>
#include <utility>

#include <sentencepiece_processor.h>
#include <unicode/uchar.h>
#include <unicode/uloc.h>
#include <unicode/uscript.h>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/sentencepiece.h"
#include "io/files.h"

#include "metrics/internal/text.h"

namespace chorus::inline metrics {
namespace {

bool is_digit(char32_t c) {
  return c >= '0' && c <= '9';
}
bool is_period_or_comma(char32_t c) {
  return c == '.' || c == ',';
}
bool is_dash(char32_t c) {
  return c == '-';
}

// ASCII punctuation and the space, without ' , - and the period.
bool is_western_punctuation(char32_t c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

bool has_category(char32_t c, uint32_t mask) {
  return (U_GET_GC_MASK(static_cast<UChar32>(c)) & mask) != 0;
}
bool is_punctuation(char32_t c) {
  return has_category(c, U_GC_P_MASK);
}
bool is_symbol(char32_t c) {
  return has_category(c, U_GC_S_MASK);
}
bool is_number(char32_t c) {
  return has_category(c, U_GC_N_MASK);
}

// sacreBLEU means two planes of rare ideographs (U+20000 to U+2A6D6, U+2F800 to U+2FA1D), but writes them
// with four digits, so that it takes U+2001 to U+2A6D and U+2F81 to U+2FA1 instead. Figures are equal only if
// we do so too.
bool is_chinese(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 19> kRanges = {{
      {0x2001, 0x2a6d},  // meant: extension B
      {0x2e80, 0x2eff},  // radicals, supplement
      {0x2f00, 0x2fdf},  // Kangxi radicals; holds what the compatibility supplement is taken for
      {0x2ff0, 0x2fff},  // description characters
      {0x3000, 0x303f},  // punctuation
      {0x3100, 0x312f},  // Bopomofo
      {0x31a0, 0x31bf},  // Bopomofo, extended
      {0x31c0, 0x31ef},  // strokes
      {0x3200, 0x32ff},  // enclosed letters and months
      {0x3300, 0x33ff},  // compatibility
      {0x3400, 0x4db5},  // extension A
      {0x4e00, 0x9fa5},  // unified ideographs
      {0x9fa6, 0x9fbb}, {0xf900, 0xfa2d},                    // compatibility ideographs
      {0xfa30, 0xfa6a}, {0xfa70, 0xfad9}, {0xfe10, 0xfe1f},  // vertical forms
      {0xfe30, 0xfe4f},                                      // compatibility forms
      {0xff00, 0xffef},                                      // half and full width forms
  }};
  return std::any_of(kRanges.begin(), kRanges.end(),
                     [c](const auto& range) { return c >= range.first && c <= range.second; });
}

// A space on both sides of every character of the class.
template <class Class>
std::u32string set_apart(std::u32string_view line, Class in_class) {
  std::u32string result;
  result.reserve(line.size() * 2);
  for (const char32_t c : line) {
    if (in_class(c))
      result.append({U' ', c, U' '});
    else
      result.push_back(c);
  }
  return result;
}

enum class Space { kBefore, kAfter };

// A space inside every pair of characters of the two classes, and one before or after it. Pairs are found
// from left to right and do not overlap, as a regular expression would replace them.
template <class First, class Second>
std::u32string split_pairs(std::u32string_view line, First first, Second second, Space outer) {
  std::u32string result;
  result.reserve(line.size() * 2);
  for (size_t i = 0; i < line.size(); ++i) {
    if (i + 1 == line.size() || !first(line[i]) || !second(line[i + 1])) {
      result.push_back(line[i]);
      continue;
    }
    if (outer == Space::kBefore) result.push_back(U' ');
    result.append({line[i], U' ', line[i + 1]});
    if (outer == Space::kAfter) result.push_back(U' ');
    ++i;
  }
  return result;
}

void replace_all(std::u32string& line, std::u32string_view what, std::u32string_view with) {
  size_t at = line.find(what);
  if (at == std::u32string::npos) return;
  std::u32string result;
  size_t begin = 0;
  for (; at != std::u32string::npos; at = line.find(what, begin)) {
    result.append(line, begin, at - begin).append(with);
    begin = at + what.size();
  }
  line = std::move(result.append(line, begin));
}

std::u32string tokenize_western(std::u32string_view text) {
  const auto no_digit = [](char32_t c) { return !is_digit(c); };
  std::u32string line = set_apart(text, is_western_punctuation);
  line = split_pairs(line, no_digit, is_period_or_comma, Space::kAfter);
  line = split_pairs(line, is_period_or_comma, no_digit, Space::kBefore);
  return split_pairs(line, is_digit, is_dash, Space::kAfter);
}

std::u32string tokenize_13a(std::u32string_view text) {
  std::u32string line(text);
  replace_all(line, U"<skipped>", U"");
  replace_all(line, U"-\n", U"");
  replace_all(line, U"&quot;", U"\"");
  replace_all(line, U"&amp;", U"&");
  replace_all(line, U"&lt;", U"<");
  replace_all(line, U"&gt;", U">");
  return tokenize_western(U' ' + line + U' ');
}

std::u32string tokenize_intl(std::u32string_view text) {
  const auto no_number = [](char32_t c) { return !is_number(c); };
  std::u32string line = split_pairs(text, no_number, is_punctuation, Space::kAfter);
  line = split_pairs(line, is_punctuation, no_number, Space::kBefore);
  return set_apart(line, is_symbol);
}

std::u32string tokenize_zh(std::u32string_view text) {
  while (!text.empty() && is_python_space(text.front())) text.remove_prefix(1);
  return tokenize_western(set_apart(text, is_chinese));
}

std::u32string tokenize_char(std::u32string_view text) {
  return set_apart(text, [](char32_t) { return true; });
}

// Pieces may hold white space (a user symbol, an identity normaliser); sacreBLEU then splits them there.
std::u32string tokenize_spm(std::u32string_view text, const sentencepiece::SentencePieceProcessor& spm) {
  std::vector<std::string> pieces;
  const auto status = spm.Encode(to_utf8(text), &pieces);
  if (!status.ok()) throw Error("SentencePiece cannot encode a line: {}", status.ToString());
  std::u32string line;
  for (const std::string& piece : pieces) line.append(to_utf32(piece)).push_back(U' ');
  return line;
}

}  // namespace

Tokenizer::Tokenizer(std::string_view name, const std::filesystem::path& spm_model) : name_(name) {
  constexpr std::array<std::pair<std::string_view, Kind>, 6> kKinds = {{{"13a", Kind::k13a},
                                                                        {"intl", Kind::kIntl},
                                                                        {"zh", Kind::kZh},
                                                                        {"char", Kind::kChar},
                                                                        {"none", Kind::kNone},
                                                                        {"spm", Kind::kSpm}}};
  const auto* kind =
      std::find_if(kKinds.begin(), kKinds.end(), [name](const auto& entry) { return entry.first == name; });
  if (kind == kKinds.end())
    throw UserError("no tokeniser is called '{}': choose 13a, intl, zh, char, none or spm", one_line(name));
  kind_ = kind->second;
  if (kind_ != Kind::kSpm) {
    if (!spm_model.empty())
      throw UserError("{}: a SentencePiece model goes with the tokeniser spm, not with {}",
                      spm_model.string(), name);
    return;
  }
  if (spm_model.empty())
    throw UserError("the tokeniser spm needs a SentencePiece model: name its file (--spm)");
  const std::string bytes = read_sentencepiece(spm_model);
  spm_ = load_sentencepiece(bytes, spm_model.string());
  name_ = "spm-" + hash_text(hash_bytes(bytes));
}

std::vector<std::string> Tokenizer::operator()(std::string_view line) const {
  const std::u32string decoded = to_utf32(line);
  const std::u32string_view text = metrics::strip_end(decoded);
  const std::u32string tokenized = [&] {
    switch (kind_) {
      case Kind::k13a:
        return tokenize_13a(text);
      case Kind::kIntl:
        return tokenize_intl(text);
      case Kind::kZh:
        return tokenize_zh(text);
      case Kind::kChar:
        return tokenize_char(text);
      case Kind::kSpm:
        return tokenize_spm(text, *spm_);
      case Kind::kNone:
        break;
    }
    return std::u32string(text);
  }();
  std::vector<std::string> tokens;
  for (const std::u32string_view token : metrics::split(tokenized)) tokens.push_back(to_utf8(token));
  return tokens;
}

std::string tokenizer_for(std::string_view language) {
  UErrorCode status = U_ZERO_ERROR;
  char whole[ULOC_FULLNAME_CAPACITY] = {};  // "zh_Hant_TW" of "zho_Hant"
  uloc_addLikelySubtags(std::string(language == "cmn" ? "zh" : language).c_str(), whole, sizeof whole,
                        &status);
  char name[ULOC_SCRIPT_CAPACITY] = {};
  uloc_getScript(whole, name, sizeof name, &status);
  UScriptCode script = USCRIPT_INVALID_CODE;
  if (uscript_getCode(name, &script, 1, &status) != 1 || U_FAILURE(status)) return "13a";
  switch (script) {
    case USCRIPT_HAN:
    case USCRIPT_SIMPLIFIED_HAN:
    case USCRIPT_TRADITIONAL_HAN:
    case USCRIPT_HAN_WITH_BOPOMOFO:
      return "zh";
    case USCRIPT_KOREAN:
    case USCRIPT_HANGUL:
    case USCRIPT_TIBETAN:
      return "char";
    default:
      return uscript_breaksBetweenLetters(script) ? "char" : "13a";
  }
}

}  // namespace chorus::inline metrics
