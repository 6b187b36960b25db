#include "detect/internal/letters.h"

#include <algorithm>
#include <cmath>

#include <unicode/uchar.h>

#include "base/utf8.h"

namespace chorus::inline detect {

namespace {

/// Adds the n-grams of a word, which has the marks at its ends.
void add_ngrams(const std::u32string& word, size_t buckets, std::vector<uint32_t>& found) {
  constexpr size_t kLongest = 5;  // characters
  const auto add = [&](uint64_t hash) {
    found.push_back(static_cast<uint32_t>((hash ^ (hash >> 32)) & (buckets - 1)));
  };
  const auto with = [](uint64_t hash, char32_t c) { return (hash ^ c) * 0x9E3779B97F4A7C15U + (hash >> 29); };
  uint64_t whole = 1;
  for (size_t begin = 0; begin < word.size(); ++begin) {
    uint64_t hash = 0;
    for (size_t end = begin; end < std::min(word.size(), begin + kLongest); ++end) {
      hash = with(hash, word[end]);
      if (end > begin || (begin > 0 && begin + 1 < word.size())) add(hash);
    }
    whole = with(whole, word[begin]);
  }
  if (word.size() > kLongest) add(whole);
}

}  // namespace

std::string plain_text(std::string_view text) {
  constexpr size_t kMost = 64 << 10;
  std::string plain;
  plain.reserve(std::min(text.size(), kMost));
  for (size_t at = 0; at < text.size() && plain.size() < kMost;) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    const bool ill = c == 0xFFFD || (c & 0xFFFE) == 0xFFFE || (c >= 0xFDD0 && c <= 0xFDEF);
    if (ill || u_charType(static_cast<UChar32>(c)) == U_CONTROL_CHAR)
      plain += ' ';
    else
      plain += text.substr(begin, at - begin);
  }
  return plain;
}

std::vector<BucketCount> count_ngrams(std::string_view text, size_t buckets) {
  constexpr char32_t kMark = U' ';
  std::vector<uint32_t> found;
  std::u32string word(1, kMark);
  const auto end_word = [&] {
    if (word.size() > 1) add_ngrams(word + kMark, buckets, found);
    word.resize(1);
  };
  for (size_t at = 0; at < text.size();) {
    const auto c = static_cast<UChar32>(next_code_point(text, at));
    if (u_isalpha(c) || (U_GET_GC_MASK(c) & U_GC_M_MASK) != 0)
      word += static_cast<char32_t>(u_tolower(c));
    else
      end_word();
  }
  end_word();
  std::ranges::sort(found);
  std::vector<BucketCount> counts;
  for (const uint32_t bucket : found) {
    if (counts.empty() || counts.back().bucket != bucket) counts.push_back({bucket, 0});
    ++counts.back().count;
  }
  return counts;
}

double count_scale(const std::vector<BucketCount>& counts) {
  double sum = 0;
  for (const BucketCount& one : counts) sum += one.count;
  return sum > 0 ? 1 / std::sqrt(sum) : 0;
}

}  // namespace chorus::inline detect
