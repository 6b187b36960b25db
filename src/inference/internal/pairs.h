// Texts as a model reads them.
#pragma once

#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/vocabulary.h"

namespace chorus::inline face {

constexpr int64_t kBatchTokens = 8192;

/// `targets` has as many as `sources`, or none. UserError on languages that the vocabulary does not know, and naming
/// what is not UTF-8.
std::vector<SentencePair> pairs_of(const Vocabulary& vocabulary, const std::string& from,
                                   const std::string& to, const std::vector<std::string>& sources,
                                   const std::vector<std::string>& targets);

}  // namespace chorus::inline face
