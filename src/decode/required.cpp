#include "decode/internal/required.h"

#include <algorithm>
#include <functional>
#include <set>

#include <fmt/format.h>
#include <unicode/uchar.h>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "data/line_reader.h"
#include "io/json.h"

#include "decode/internal/lines.h"
#include "decode/internal/split.h"

namespace chorus::inline decode {

namespace {

/// The pieces of text that decodes to itself; none: there are no such.
std::vector<int32_t> exact_pieces(const Vocabulary& vocabulary, std::string_view text) {
  std::vector<int32_t> pieces = vocabulary.target().encode(text);
  if (std::ranges::find(pieces, kUnk) != pieces.end() || vocabulary.decode(pieces) != text) return {};
  return pieces;
}

/// Whether a word may end, and another begin, at this byte.
bool is_boundary(std::string_view text, size_t at) {
  if (at == 0 || at == text.size()) return true;
  const char32_t left = last_code_point(text.substr(0, at)), right = next_code_point(text, at);
  const auto in_word = [](char32_t c) {
    const auto code = static_cast<UChar32>(c);
    return (u_isalnum(code) || (U_GET_GC_MASK(code) & U_GC_M_MASK) != 0) && !is_wide(c);
  };
  return !in_word(left) || !in_word(right);
}

}  // namespace

std::vector<Term> read_terms(const std::filesystem::path& file) {
  std::vector<Term> terms;
  std::unordered_map<std::string, std::string> seen;
  LineReader reader(file);
  while (reader.next()) {
    const std::string where = place(reader);
    std::string fault = fault_of(reader);
    if (fault.empty()) fault = utf8_fault(reader.text(), where);
    if (!fault.empty()) throw UserError("{}", fault);
    if (trim_space(reader.text()).empty()) continue;
    const std::vector<std::string_view> cells = split(reader.text(), '\t');
    Term term = {.where = where};
    if (cells.size() == 2) {
      term.source = trim_space(cells[0]);
      term.target = trim_space(cells[1]);
    }
    if (term.source.empty() || term.target.empty())
      throw UserError("{}: a term is SOURCE<TAB>TARGET, and this line is not", where);
    const auto [before, added] = seen.emplace(term.source, where);
    if (!added)
      throw UserError("{}: {} is there already, at {}", where, in_quotes(term.source), before->second);
    terms.push_back(std::move(term));
  }
  return terms;
}

RequiredText::RequiredText(const Vocabulary& vocabulary, std::span<const Term> terms, const std::string& keep)
    : pattern_text_(keep) {
  std::set<size_t, std::greater<>> lengths;
  for (const Term& term : terms) {
    if (trim_space(term.source).empty() || trim_space(term.target).empty())
      throw UserError("{}: a term is a phrase and its translation, and one of them is empty", term.where);
    const std::vector<int32_t> pieces = exact_pieces(vocabulary, term.target);
    if (pieces.empty())
      throw UserError("{}: the vocabulary of this model cannot write {}", term.where, in_quotes(term.target));
    const auto [unused, is_new] = terms_.emplace(
        term.source, Phrase{pieces, fmt::format("{} ({})", in_quotes(term.target), term.where)});
    if (!is_new) throw UserError("{}: {} is there already", term.where, in_quotes(term.source));
    lengths.insert(term.source.size());
  }
  lengths_.assign(lengths.begin(), lengths.end());
  if (keep.empty()) return;
  if (!is_valid_utf8(keep)) throw UserError("--keep {}: it is not UTF-8", in_quotes(keep));
  UErrorCode status = U_ZERO_ERROR;
  UParseError place = {};
  pattern_.reset(icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(keep), place, status));
  if (U_FAILURE(status))
    throw UserError("{}, for text to keep, is no regular expression: {} at character {}", in_quotes(keep),
                    u_errorName(status), place.offset);
}

std::vector<RequiredText::Match> RequiredText::kept(std::string_view text, const std::string& where) const {
  std::vector<Match> matches;
  if (!pattern_) return matches;
  constexpr int32_t kMostSteps = 10'000;  // some 10 s
  UErrorCode status = U_ZERO_ERROR;
  UText* const utf8 = utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status);
  const std::unique_ptr<icu::RegexMatcher> matcher(pattern_->matcher(status));
  if (U_SUCCESS(status)) {
    matcher->setTimeLimit(kMostSteps, status);
    matcher->reset(utf8);
    while (matcher->find(status)) {
      const auto begin = static_cast<size_t>(matcher->start64(status)),
                 end = static_cast<size_t>(matcher->end64(status));
      if (end > begin) matches.push_back({begin, end});
    }
  }
  utext_close(utf8);
  if (U_FAILURE(status))
    throw UserError("{}: {} is too hard to look for in this line: {}", where, in_quotes(pattern_text_),
                    u_errorName(status));
  return matches;
}

void RequiredText::find_terms(std::string_view text, Match where, std::vector<Phrase>& phrases) const {
  for (size_t at = where.begin; at < where.end;) {
    size_t next = at;
    next_code_point(text, next);
    if (is_boundary(text, at)) {
      for (const size_t length : lengths_) {
        if (at + length > where.end || !is_boundary(text, at + length)) continue;
        const auto found = terms_.find(std::string(text.substr(at, length)));
        if (found == terms_.end()) continue;
        phrases.push_back(found->second);
        phrases.back().at = text.substr(at, length);
        next = at + length;
        break;
      }
    }
    at = next;
  }
}

std::vector<RequiredText::Phrase> RequiredText::find(const Vocabulary& vocabulary, std::string_view text,
                                                     const std::string& where) const {
  std::vector<Phrase> phrases;
  size_t at = 0;
  for (const auto [begin, end] : kept(text, where)) {
    find_terms(text, {at, begin}, phrases);
    const std::string_view match = trim_space(text.substr(begin, end - begin));
    if (!match.empty()) {
      phrases.push_back({exact_pieces(vocabulary, match), fmt::format("{} (kept)", in_quotes(match)), match});
    }
    at = end;
  }
  find_terms(text, {at, text.size()}, phrases);
  return phrases;
}

}  // namespace chorus::inline decode
