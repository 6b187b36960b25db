#include "document/internal/placement.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>

#include <unicode/uchar.h>
#include <unicode/utext.h>

#include "base/error.h"
#include "base/utf8.h"

namespace chorus::inline document {

namespace {

using AtomLinks = std::span<const std::pair<int64_t, int64_t>>;

constexpr int64_t kNone = -1;

/// Atoms of one side, first to last, of words that belong together.
using Atoms = std::vector<int64_t>;

bool is_space_at(std::string_view text, size_t at) {
  return is_file_space(next_code_point(text, at));
}

/// The atoms with cuts where marks begin and end.
std::vector<TextAtom> cut_at_marks(const std::vector<TextAtom>& atoms, std::span<const InlineMark> marks) {
  std::vector<size_t> cuts;
  for (const InlineMark& mark : marks) cuts.insert(cuts.end(), {mark.begin, mark.end});
  std::ranges::sort(cuts);
  std::vector<TextAtom> finer;
  auto cut = cuts.begin();
  for (TextAtom atom : atoms) {
    for (; cut != cuts.end() && *cut < atom.end; ++cut) {
      if (*cut <= atom.begin) continue;
      finer.push_back(atom);
      finer.back().end = atom.begin = *cut;
    }
    finer.push_back(atom);
  }
  return finer;
}

/// The atoms of each word: where they begin; and the end of the last.
std::vector<size_t> word_begins(std::span<const TextAtom> atoms) {
  std::vector<size_t> begins;
  for (size_t i = 0; i < atoms.size(); ++i)
    if (i == 0 || atoms[i].word != atoms[i - 1].word) begins.push_back(i);
  begins.push_back(atoms.size());
  return begins;
}

/// The two sides of a segment.
struct Sides {
  std::string_view source_text;
  std::span<const TextAtom> source;
  std::string_view target_text;
  std::span<const TextAtom> target;

  [[nodiscard]] bool are_alike(int64_t from, int64_t into) const {
    return source_text.substr(source[from].begin, source[from].end - source[from].begin) ==
           target_text.substr(target[into].begin, target[into].end - target[into].begin);
  }
};

/// Says of atoms `into` which of atoms `from` they come from, where nothing more is known than that these became those:
/// where all are alike, each from its like; else words come from words in order, punctuation at either end from
/// punctuation there, its like if there is one (so that "{0}," keeps its brace), other from nothing.
void map_in_order(const Sides& sides, const Atoms& from, const Atoms& into, std::vector<int64_t>& origin) {
  const std::span<const TextAtom> source = sides.source, target = sides.target;
  const auto alike = [&](int64_t a, int64_t b) { return sides.are_alike(a, b); };
  if (std::ranges::equal(from, into, alike)) {
    for (size_t i = 0; i < from.size(); ++i) origin[into[i]] = from[i];
    return;
  }
  Atoms source_words, target_words;
  std::ranges::copy_if(from, std::back_inserter(source_words), [&](int64_t i) { return source[i].is_word; });
  std::ranges::copy_if(into, std::back_inserter(target_words), [&](int64_t i) { return target[i].is_word; });
  if (source_words.empty() || target_words.empty()) source_words = from, target_words = into;
  const size_t sources = source_words.size(), targets = target_words.size();
  for (size_t i = 0; i < targets; ++i) {
    const size_t begin = i * sources / targets, end = std::max(begin + 1, (i + 1) * sources / targets);
    origin[target_words[i]] = *std::max_element(
        &source_words[begin], &source_words[begin] + (end - begin), [&](int64_t a, int64_t b) {
          return source[a].end - source[a].begin < source[b].end - source[b].begin;
        });
  }
  // From the words outwards.
  auto before = std::ranges::find(from, source_words.front());
  for (auto atom = std::ranges::find(into, target_words.front()); atom != into.begin();) {
    --atom;
    const auto like = std::find_if(std::reverse_iterator(before), from.rend(),
                                   [&](int64_t candidate) { return alike(candidate, *atom); });
    if (like != from.rend()) before = std::prev(like.base());
    if (from.front() < source_words.front()) origin[*atom] = like != from.rend() ? *like : from.front();
  }
  auto after = std::next(std::ranges::find(from, source_words.back()));
  for (auto atom = std::next(std::ranges::find(into, target_words.back())); atom != into.end(); ++atom) {
    const auto like =
        std::find_if(after, from.end(), [&](int64_t candidate) { return alike(candidate, *atom); });
    if (like != from.end()) after = std::next(like);
    if (from.back() > source_words.back()) origin[*atom] = like != from.end() ? *like : from.back();
  }
}

/// Whether links of words say little: most words are not what white space cuts, as in Chinese.
bool is_dense(std::span<const TextAtom> atoms) {
  return !atoms.empty() && std::ranges::count_if(atoms, &TextAtom::is_word) > 2 * (atoms.back().word + 1);
}

/// Returns which atom of the source each atom of the translation comes from; kNone: not known. Cuts words of the
/// translation as the same words of the source are cut.
std::vector<int64_t> origins(std::string_view source_text, std::span<const TextAtom> source,
                             std::string_view target_text, std::vector<TextAtom>& target, AtomLinks links) {
  const std::vector<size_t> source_words = word_begins(source), target_words = word_begins(target);
  if (links.empty() || is_dense(source) || is_dense(target)) {
    Atoms from(source.size()), into(target.size());
    std::ranges::generate(from, [i = int64_t{0}]() mutable { return i++; });
    std::ranges::generate(into, [i = int64_t{0}]() mutable { return i++; });
    std::vector<int64_t> origin(target.size(), kNone);
    if (!from.empty() && !into.empty())
      map_in_order({source_text, source, target_text, target}, from, into, origin);
    return origin;
  }
  const auto words = [](const std::vector<size_t>& begins) {
    return static_cast<int64_t>(begins.size()) - 1;
  };
  std::vector<int64_t> word_origin(words(target_words), kNone);
  for (const auto& [from, into] : links) {
    const bool known = from >= 0 && from < words(source_words) && into >= 0 && into < words(target_words);
    if (known && word_origin[into] == kNone) word_origin[into] = from;
  }
  std::vector<TextAtom> finer;
  std::vector<Atoms> becomes(words(source_words));  // of each word of the source, atoms of the translation
  for (int64_t word = 0; word < words(target_words); ++word) {
    const std::span own =
        std::span(target).subspan(target_words[word], target_words[word + 1] - target_words[word]);
    const int64_t from = word_origin[word];
    const size_t begin = finer.size();
    if (from != kNone) {
      const std::span its = source.subspan(source_words[from], source_words[from + 1] - source_words[from]);
      const auto text_of = [](std::string_view text, std::span<const TextAtom> atoms) {
        return text.substr(atoms.front().begin, atoms.back().end - atoms.front().begin);
      };
      if (text_of(source_text, its) == text_of(target_text, own)) {
        for (TextAtom atom : its) {
          atom.begin += own.front().begin - its.front().begin;
          atom.end = atom.begin + (source[source_words[from] + (finer.size() - begin)].end -
                                   source[source_words[from] + (finer.size() - begin)].begin);
          atom.word = word;
          finer.push_back(atom);
        }
      }
    }
    if (finer.size() == begin) finer.insert(finer.end(), own.begin(), own.end());
    if (from == kNone) continue;
    for (size_t i = begin; i < finer.size(); ++i) becomes[from].push_back(static_cast<int64_t>(i));
  }
  target = std::move(finer);
  std::vector<int64_t> origin(target.size(), kNone);
  for (int64_t word = 0; word < words(source_words); ++word) {
    if (becomes[word].empty()) continue;
    Atoms from;
    for (size_t i = source_words[word]; i < source_words[word + 1]; ++i)
      from.push_back(static_cast<int64_t>(i));
    map_in_order({source_text, source, target_text, target}, from, becomes[word], origin);
  }
  return origin;
}

class Placer {
 public:
  Placer(std::span<const InlineMark> marks, std::span<const TextAtom> source,
         std::span<const TextAtom> target, std::span<const int64_t> origin)
      : marks_(marks),
        placed_(marks.size()),
        own_(marks.size()),
        known_(origin.size() + 1),
        first_(source.size(), kNone),
        last_(source.size(), kNone),
        source_(source),
        target_(target) {
    const std::vector<std::vector<size_t>> around = marks_around(source);
    for (size_t i = 0; i < origin.size(); ++i) {
      known_[i + 1] = known_[i] + (origin[i] == kNone ? 0 : 1);
      if (origin[i] == kNone) continue;
      for (const size_t mark : around[origin[i]]) own_[mark].push_back(i);
      if (first_[origin[i]] == kNone) first_[origin[i]] = static_cast<int64_t>(i);
      last_[origin[i]] = static_cast<int64_t>(i);
    }
  }

  std::vector<PlacedMark> place() {
    place_among(0, marks_.size(), {0, target_.size()});
    return std::move(placed_);
  }

 private:
  struct Claim {
    size_t end = 0, mark = 0;
  };
  using Claims = std::map<size_t, Claim>;  // by the first atom

  /// Returns for each atom of the source the elements that it is in.
  [[nodiscard]] std::vector<std::vector<size_t>> marks_around(std::span<const TextAtom> source) const {
    std::vector<std::vector<size_t>> around(source.size());
    for (size_t mark = 0; mark < marks_.size(); ++mark) {
      const auto begin = std::ranges::lower_bound(source, marks_[mark].begin, {}, &TextAtom::begin);
      for (auto atom = begin; atom != source.end() && atom->begin < marks_[mark].end; ++atom)
        around[atom - source.begin()].push_back(mark);
    }
    return around;
  }

  /// Returns the stretch inside of `within`, free of claims, in which the mark's own atoms outnumber others' the
  /// most.
  [[nodiscard]] PlacedMark best_stretch(size_t mark, PlacedMark within, const Claims& claims) const {
    PlacedMark best, stretch;
    size_t best_worth = 0, worth = 0;
    for (const size_t atom : own_[mark]) {
      if (atom < within.begin || atom >= within.end) continue;
      const auto next = claims.upper_bound(atom);
      const size_t taken_to = next == claims.begin() ? 0 : std::prev(next)->second.end;
      if (taken_to > atom) continue;
      const size_t others = worth == 0 ? 0 : known_[atom] - known_[stretch.end];
      if (worth > others && taken_to <= stretch.begin) {
        worth -= others;
      } else {
        worth = 0;
        stretch.begin = atom;
      }
      ++worth;
      stretch.end = atom + 1;
      if (worth > best_worth) {
        best_worth = worth;
        best = stretch;
      }
    }
    return best;
  }

  /// Returns where in `within` belongs what stands before this atom of the source.
  [[nodiscard]] size_t place_before(size_t atom, bool with_next, PlacedMark within) const {
    const int64_t before = atom == 0 ? kNone : last_[atom - 1];
    const int64_t behind = atom == first_.size() ? kNone : first_[atom];
    size_t place = 0;
    if (before != kNone && (!with_next || behind == kNone))
      place = before + 1;
    else if (behind != kNone)
      place = behind;
    else if (!first_.empty())
      place = (atom * target_.size() + first_.size() / 2) / first_.size();
    return std::clamp(place, within.begin, within.end);
  }

  /// Gives an element whose words are lost a free one beside it: an empty link would be lost, too.
  void widen(size_t mark, PlacedMark within, Claims& claims) {
    PlacedMark& placed = placed_[mark];
    for (const size_t end : {placed.begin + 1, placed.begin}) {
      if (end <= within.begin || end > within.end || !target_[end - 1].is_word) continue;
      const auto next = claims.lower_bound(end);
      if (next != claims.begin() && std::prev(next)->second.end >= end) continue;
      placed = {end - 1, end};
      claims[placed.begin] = {placed.end, mark};
      return;
    }
  }

  /// Places the marks from `first` to before `last`, which are inside of `within`.
  void place_among(size_t first, size_t last, PlacedMark within) {
    std::vector<size_t> marks;
    for (size_t mark = first; mark < last; mark = marks_[mark].after) marks.push_back(mark);
    // Those with many words first: they lose more where others are in their way.
    std::vector<size_t> order = marks;
    std::ranges::stable_sort(order, std::greater(), [&](size_t mark) { return own_[mark].size(); });
    Claims claims;
    for (const size_t mark : order) {
      const PlacedMark stretch = best_stretch(mark, within, claims);
      placed_[mark] = stretch;
      if (stretch.end > 0) claims[stretch.begin] = {stretch.end, mark};
    }
    for (const size_t mark : marks) {
      PlacedMark& placed = placed_[mark];
      if (placed.end == 0) {
        const auto atom = std::ranges::lower_bound(source_, marks_[mark].begin, {}, &TextAtom::begin);
        placed.begin = place_before(atom - source_.begin(), marks_[mark].with_next, within);
        if (const auto next = claims.lower_bound(placed.begin); next != claims.begin()) {
          const auto& [begin, claim] = *std::prev(next);
          if (placed.begin < claim.end) placed.begin = mark < claim.mark ? begin : claim.end;
        }
        placed.end = placed.begin;
        if (!marks_[mark].is_point()) widen(mark, within, claims);
      }
      place_among(mark + 1, marks_[mark].after, placed);
    }
  }

  std::span<const InlineMark> marks_;
  std::vector<PlacedMark> placed_;
  std::vector<std::vector<size_t>>
      own_;                            // of each mark, the atoms of the translation that come from its words
  std::vector<size_t> known_;          // before each atom, how many come from one that is known
  std::vector<int64_t> first_, last_;  // of each atom of the source, the first and last that come from it
  std::span<const TextAtom> source_, target_;
};

}  // namespace

AtomSplitter::AtomSplitter() {
  UErrorCode status = U_ZERO_ERROR;
  breaks_.reset(icu::BreakIterator::createWordInstance(icu::Locale::getRoot(), status));
  if (U_FAILURE(status)) throw Error("ICU finds no words: {}", u_errorName(status));
}

std::vector<TextAtom> AtomSplitter::split(std::string_view text) const {
  UErrorCode status = U_ZERO_ERROR;
  UText* const utf8 = utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status);
  breaks_->setText(utf8, status);
  if (U_FAILURE(status)) throw Error("ICU finds no words: {}", u_errorName(status));
  std::vector<TextAtom> atoms;
  int64_t word = -1;
  bool space = true;
  size_t begin = 0;
  breaks_->first();
  for (int32_t at = breaks_->next(); at != icu::BreakIterator::DONE; at = breaks_->next()) {
    const bool is_word = breaks_->getRuleStatus() >= UBRK_WORD_NONE_LIMIT;
    // A mark that combines with a space is one with it to ICU.
    for (const auto end = static_cast<size_t>(at); begin < end;) {
      size_t next = begin;
      for (; next < end && is_space_at(text, next); static_cast<void>(next_code_point(text, next)))
        space = true;
      begin = next;
      while (next < end && !is_space_at(text, next)) static_cast<void>(next_code_point(text, next));
      if (next == begin) continue;
      if (space) ++word;
      space = false;
      atoms.push_back({.begin = begin, .end = next, .word = word, .is_word = is_word});
      begin = next;
    }
  }
  utext_close(utf8);
  return atoms;
}

Placement place_marks(std::string_view source, std::span<const InlineMark> marks,
                      std::string_view translation, AtomLinks links, const AtomSplitter& splitter) {
  const std::vector<TextAtom> atoms = cut_at_marks(splitter.split(source), marks);
  Placement placement = {.atoms = splitter.split(translation), .marks = {}};
  const std::vector<int64_t> origin = origins(source, atoms, translation, placement.atoms, links);
  placement.marks = Placer(marks, atoms, placement.atoms, origin).place();
  return placement;
}

}  // namespace chorus::inline document
