#include "data/internal/added_words.h"

#include <algorithm>

#include "base/error.h"
#include "io/json.h"

namespace chorus::inline data {

AddedWords::AddedWords(const std::vector<AddedWord>& words) {
  for (const AddedWord& word : words) {
    if (word.text.empty()) throw Error("an added word is empty");
    if (!ids_.emplace(word.text, word.id).second)
      throw Error("the added word {} is there twice", in_quotes(word.text));
    if (const auto [at, is_new] = words_.emplace(word.id, word); !is_new)
      throw Error("the added words {} and {} have the same id {}", in_quotes(at->second.text),
                  in_quotes(word.text), word.id);
    std::vector<size_t>& sizes = sizes_[static_cast<unsigned char>(word.text.front())];
    if (std::ranges::find(sizes, word.text.size()) == sizes.end()) sizes.push_back(word.text.size());
  }
  for (std::vector<size_t>& sizes : sizes_) std::ranges::sort(sizes, std::greater());
}

AddedWords::Found AddedWords::find(std::string_view text) const {
  if (ids_.empty()) return {.begin = text.size()};
  for (size_t begin = 0; begin < text.size(); ++begin) {
    for (const size_t size : sizes_[static_cast<unsigned char>(text[begin])]) {
      if (size > text.size() - begin) continue;
      if (const auto found = ids_.find(text.substr(begin, size)); found != ids_.end())
        return {.begin = begin, .size = size, .id = found->second};
    }
  }
  return {.begin = text.size()};
}

const AddedWord* AddedWords::with_id(int32_t id) const {
  const auto found = words_.find(id);
  return found == words_.end() ? nullptr : &found->second;
}

}  // namespace chorus::inline data
