// Words that a vocabulary has beyond its pieces, found in text before the pieces are.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/vocabulary.h"

namespace chorus::inline data {

/// Finds added words as transformers does: the first in the text, and of those that begin there the longest.
class AddedWords {
 public:
  AddedWords() = default;
  /// Error on a word that is empty or there twice, and on an id that is there twice.
  explicit AddedWords(const std::vector<AddedWord>& words);

  struct Found {
    size_t begin = 0, size = 0;  // bytes of the text; size 0: there is none, and `begin` is its end
    int32_t id = 0;
  };
  [[nodiscard]] Found find(std::string_view text) const;
  /// None: nullptr.
  [[nodiscard]] const AddedWord* with_id(int32_t id) const;

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  std::unordered_map<std::string, int32_t, Hash, std::equal_to<>> ids_;
  std::unordered_map<int32_t, AddedWord> words_;
  std::array<std::vector<size_t>, 256> sizes_;  // of the words that begin with a byte, the longest first
};

}  // namespace chorus::inline data
