// What a token store was made from, so that a store of something else is noticed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/parallel_text.h"
#include "data/vocabulary.h"

namespace chorus::inline data {

class StoreStamp {
 public:
  /// Looks at the size and time of the files; their content is hashed when it matters. UserError on a missing
  /// file.
  StoreStamp(TextSource source, Vocabulary vocabulary);

  /// Names the store: depends on the paths and languages alone, so that what replaces a store takes its
  /// place.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] const std::vector<std::string>& languages() const { return source_.languages; }
  [[nodiscard]] const Vocabulary& vocabulary() const { return vocabulary_; }

  /// The stamp as a store keeps it.
  [[nodiscard]] std::string json() const;
  /// Why a store with the stamp `json` is not one of this; empty if it is.
  [[nodiscard]] std::string differs_from(std::string_view json) const;
  /// UserError if a file has another size or time by now.
  void check_unchanged() const;

 private:
  struct File {
    std::string path;  // absolute
    uint64_t bytes = 0;
    int64_t time = 0;
    friend bool operator==(const File&, const File&) = default;
  };
  TextSource source_;
  Vocabulary vocabulary_;
  std::vector<File> files_;
};

}  // namespace chorus::inline data
