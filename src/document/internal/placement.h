// Where the markup of a segment goes in its translation.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <unicode/brkiter.h>

#include "document/internal/segments.h"

namespace chorus::inline document {

/// A word, or what is not one: punctuation. Bytes of a text.
struct TextAtom {
  size_t begin = 0, end = 0;
  int64_t word = 0;  // as white space cuts, from 0
  bool is_word = false;
};

/// Finds words as ICU does, also in scripts without spaces. Not for several threads at once.
class AtomSplitter {
 public:
  AtomSplitter();
  /// Returns the atoms in order; white space is in none.
  [[nodiscard]] std::vector<TextAtom> split(std::string_view text) const;

 private:
  std::unique_ptr<icu::BreakIterator> breaks_;
};

/// Where the marks of a segment are around the atoms of its translation; as SegmentPlace::marks.
struct PlacedMark {
  // Atoms; of a point, and of an element without words, both are the atom that it is before.
  size_t begin = 0, end = 0;
};

/// Atoms of a translation, cut finer where marks of the segment cut a word that is the same in both, and where each
/// mark goes. Elements that are not inside each other share no atom, and those inside of one share out its atoms.
struct Placement {
  std::vector<TextAtom> atoms;
  std::vector<PlacedMark> marks;
};
Placement place_marks(std::string_view source, std::span<const InlineMark> marks,
                      std::string_view translation, std::span<const std::pair<int64_t, int64_t>> links,
                      const AtomSplitter& splitter);

}  // namespace chorus::inline document
