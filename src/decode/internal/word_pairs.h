// Which words of parallel text belong together, by how often they are met together: IBM model 1.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decode/alignment.h"

namespace chorus::inline decode {

/// The words of a pair's sides, any numbers that are equal for equal words.
struct WordPair {
  std::vector<uint64_t> source, target;
};

/// Returns for each pair the links of which model 1 (Brown et al., "The mathematics of statistical machine
/// translation", 1993), trained on the pairs in five rounds of EM, is more than half sure in both directions. A word
/// may belong to none. The words' order does not count. Memory grows with the sum of |source| x |target|.
std::vector<std::vector<WordLink>> sure_links(std::span<const WordPair> pairs);

}  // namespace chorus::inline decode
