// Denoising: what a sentence looks like after its words were masked, dropped and shuffled.
//
// Spans of words with Poisson lengths become one <mask> each, a length of zero puts a <mask> between words
// (Lewis et al., "BART", 2020, text infilling); the words left are dropped one by one, and what is left then
// moves by a few places (Lample et al., "Unsupervised machine translation using monolingual corpora only",
// 2018). The model restores the sentence (2109.10465, section 3.3).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/random.h"

namespace chorus::inline data {

struct Noise {
  double mask = 0.3;    // share of the words that lie in masked spans
  double span = 3.5;    // mean length of a span, in words
  double drop = 0.1;    // probability of dropping a word that is not masked
  int64_t shuffle = 3;  // words and masks move by so many places at most; 0: they stay
};

/// `pieces` after noise, with `mask_id` for each span: never longer than `pieces`, maybe empty.
/// `starts_word[i]`: whether a word begins with pieces[i]; the first one always does. Where words are so long
/// that there is hardly a border between them (Chinese, Japanese), each piece is a word. A pure function of
/// its arguments.
std::vector<int32_t> add_noise(std::span<const int32_t> pieces, const std::vector<bool>& starts_word,
                               const Noise& noise, int32_t mask_id, RandomKey key);

}  // namespace chorus::inline data
