#include "decode/internal/split.h"

#include <algorithm>
#include <iterator>

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/ures.h>
#include <unicode/utext.h>

#include "base/error.h"
#include "base/utf8.h"

namespace chorus::inline decode {

namespace {

constexpr std::u32string_view kWideSentenceEnds = U"。！？｡";  // no space follows
constexpr std::u32string_view kSentenceEnds = U".!?…؟।";
constexpr std::u32string_view kParagraphEnds = U"\r\v\f\u0085\u2028\u2029";

bool contains(std::u32string_view set, char32_t c) {
  return set.find(c) != std::u32string_view::npos;
}

/// Where the last character of a text that is not empty begins.
size_t last_begin(std::string_view text) {
  size_t at = text.size();
  while (at > 0 && (static_cast<unsigned char>(text[--at]) & 0xC0) == 0x80) continue;
  return at;
}

/// The place to cut `text` in two: between sentences, if such a place lies in its middle half; else between
/// words there; else between words anywhere; else between characters; never in a phrase. Of these the one nearest to
/// the middle. 0: there is none.
size_t place_to_cut(std::string_view text, std::span<const std::string_view> phrases) {
  size_t best = 0;
  int best_rank = -1;
  const size_t half = text.size() / 2;
  const auto distance = [&](size_t place) { return place > half ? place - half : half - place; };
  char32_t before = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    const char32_t next = next_code_point(text, at);
    if (here > 0 && may_cut(phrases, text.data() + here)) {
      const bool word = is_file_space(next) && !is_file_space(before);
      const bool sentence = (word && contains(kSentenceEnds, before)) || contains(kWideSentenceEnds, before);
      const bool middle = distance(here) <= text.size() / 4;
      const int rank = sentence && middle ? 3 : word && middle ? 2 : sentence || word ? 1 : 0;
      if (best == 0 || rank > best_rank || (rank == best_rank && distance(here) < distance(best))) {
        best = here;
        best_rank = rank;
      }
    }
    before = next;
  }
  return best;
}

/// What stands between two parts of one text.
std::string_view between(std::string_view left, std::string_view right) {
  return {left.data() + left.size(), static_cast<size_t>(right.data() - left.data()) - left.size()};
}

void split(std::string_view text, std::string_view before, std::span<const std::string_view> phrases,
           const std::function<bool(std::string_view)>& fits, std::vector<TextPart>& parts) {
  const size_t cut = fits(text) ? 0 : place_to_cut(text, phrases);
  if (cut == 0) {
    parts.push_back({text, before});
    return;
  }
  const std::string_view left = trim_space(text.substr(0, cut)), right = trim_space(text.substr(cut));
  split(left, before, phrases, fits, parts);
  split(right, between(left, right), phrases, fits, parts);
}

/// Whether a mark that ends sentences stands inside of a word at this byte, as in "a?b", "foo!(bar)", "Yahoo!’s", ".NET":
/// in scripts with spaces, one follows the end of a sentence. ICU looks for none behind "?" and "!".
bool is_inside_word(std::string_view text, size_t at) {
  if (at == 0 || at == text.size()) return false;
  size_t next = at;
  if (is_wide(next_code_point(text, next))) return false;
  constexpr uint32_t kAround = U_GC_PS_MASK | U_GC_PE_MASK | U_GC_PI_MASK | U_GC_PF_MASK;  // brackets, quotes
  const auto is_around = [](char32_t c) {
    return c == '"' || c == '\'' || (U_GET_GC_MASK(static_cast<UChar32>(c)) & kAround) != 0;
  };
  std::string_view left = text.substr(0, at);
  const auto drop_last = [&] { left.remove_suffix(left.size() - last_begin(left)); };
  while (!left.empty() && is_around(last_code_point(left))) drop_last();
  const auto ends_in_mark = [&] { return !left.empty() && contains(U".?!;\u2026", last_code_point(left)); };
  if (!ends_in_mark()) return false;
  while (ends_in_mark()) drop_last();
  return !ends_wide(left);
}

}  // namespace

bool may_cut(std::span<const std::string_view> phrases, const char* at) {
  const auto begins_before = [&](std::string_view phrase) { return phrase.data() < at; };
  const auto next = std::ranges::partition_point(phrases, begins_before);
  return next == phrases.begin() || at >= std::prev(next)->data() + std::prev(next)->size();
}

std::vector<TextPart> split_text(std::string_view text, std::span<const std::string_view> phrases,
                                 const std::function<bool(std::string_view)>& fits) {
  std::vector<TextPart> parts;
  if (const std::string_view whole = trim_space(text); !whole.empty()) split(whole, {}, phrases, fits, parts);
  return parts;
}

SentenceSplitter::SentenceSplitter(const std::string& language) {
  const icu::Locale locale = icu::Locale::createCanonical(language.c_str());
  // For a language without data of its own ICU would take the data of the user's language.
  const bool greek = std::string_view(locale.getLanguage()) == "el";  // the only one with rules of its own
  UErrorCode status = U_ZERO_ERROR;
  breaks_.reset(icu::BreakIterator::createSentenceInstance(greek ? locale : icu::Locale::getRoot(), status));
  if (U_FAILURE(status)) throw Error("ICU finds no sentences: {}", u_errorName(status));

  using Bundle = icu::LocalUResourceBundlePointer;
  const Bundle data(ures_open(U_ICUDATA_NAME "-brkitr", locale.getName(), &status));
  const char* const actual = ures_getLocaleByType(data.getAlias(), ULOC_ACTUAL_LOCALE, &status);
  if (U_FAILURE(status) || std::string_view(icu::Locale(actual).getLanguage()) != locale.getLanguage())
    return;
  const Bundle lists(ures_getByKey(data.getAlias(), "exceptions", nullptr, &status));
  const Bundle list(ures_getByKey(lists.getAlias(), "SentenceBreak", nullptr, &status));
  for (int32_t i = 0; U_SUCCESS(status) && i < ures_getSize(list.getAlias()); ++i) {
    std::string& abbreviation = abbreviations_.emplace_back();
    icu::ures_getUnicodeStringByIndex(list.getAlias(), i, &status).toUTF8String(abbreviation);
  }
}

bool SentenceSplitter::ends_in_abbreviation(std::string_view text) const {
  return std::ranges::any_of(abbreviations_, [&](const std::string& abbreviation) {
    if (!text.ends_with(abbreviation)) return false;
    const std::string_view before = text.substr(0, text.size() - abbreviation.size());
    return before.empty() || !u_isalnum(static_cast<UChar32>(last_code_point(before)));
  });
}

std::vector<TextPart> SentenceSplitter::split(std::string_view text,
                                              std::span<const std::string_view> phrases) const {
  std::vector<size_t> cuts = {text.size()};
  UErrorCode status = U_ZERO_ERROR;
  UText* const utf8 = utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status);
  breaks_->setText(utf8, status);
  if (U_FAILURE(status)) throw Error("ICU finds no sentences: {}", u_errorName(status));
  for (int32_t at = breaks_->first(); at != icu::BreakIterator::DONE; at = breaks_->next()) {
    const auto cut = static_cast<size_t>(at);
    if (!is_inside_word(text, cut) && !ends_in_abbreviation(trim_space(text.substr(0, cut))))
      cuts.push_back(cut);
  }
  utext_close(utf8);
  for (size_t at = 0; at < text.size();)
    if (contains(kParagraphEnds, next_code_point(text, at))) cuts.push_back(at);
  std::erase_if(cuts, [&](size_t cut) { return !may_cut(phrases, text.data() + cut); });
  std::ranges::sort(cuts);
  std::vector<TextPart> parts;
  size_t begin = 0;
  for (const size_t cut : cuts) {
    const std::string_view sentence = trim_space(text.substr(begin, cut - begin));
    begin = cut;
    if (sentence.empty()) continue;
    parts.push_back({sentence, parts.empty() ? std::string_view() : between(parts.back().text, sentence)});
  }
  return parts;
}

char32_t last_code_point(std::string_view text) {
  size_t at = last_begin(text);
  return next_code_point(text, at);
}

bool is_wide(char32_t c) {
  const int32_t width = u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_EAST_ASIAN_WIDTH);
  return width == U_EA_WIDE || width == U_EA_FULLWIDTH || width == U_EA_HALFWIDTH;
}

bool ends_wide(std::string_view text) {
  return !text.empty() && is_wide(last_code_point(text));
}

}  // namespace chorus::inline decode
