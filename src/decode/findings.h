// What was found while working that a person should be told at the end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace chorus::inline decode {

/// How many there were, and the first of them in words.
struct Findings {
  int64_t count = 0;
  std::vector<std::string> first;

  void add(std::string what);
  [[nodiscard]] std::string text() const;  // "in:2: this; in:5: that; and 7 more"
};

}  // namespace chorus::inline decode
