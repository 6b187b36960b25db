#include "metrics/internal/ngrams.h"

#include <algorithm>
#include <bit>

namespace chorus::inline metrics {

uint32_t WordIds::operator()(std::string_view word) {
  const auto found = ids_.find(word);
  if (found != ids_.end()) return found->second;
  return ids_.emplace(word, static_cast<uint32_t>(ids_.size())).first->second;
}

std::vector<uint32_t> WordIds::operator()(std::span<const std::string> words) {
  std::vector<uint32_t> ids;
  ids.reserve(words.size());
  for (const std::string& word : words) ids.push_back((*this)(word));
  return ids;
}

uint32_t NgramOverlap::number_of(uint64_t key) {
  uint64_t hash = (key ^ (key >> 32)) * 0x9e3779b97f4a7c15ULL;
  hash ^= hash >> 29;
  const size_t mask = table_.size() - 1;
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    auto& [slot_key, number] = table_[slot];
    if (number == 0) {
      slot_key = key;
      counts_.resize(counts_.size() + width_, 0);
      number = static_cast<uint32_t>(counts_.size() / width_);
    }
    if (slot_key == key) return number - 1;
  }
}

void NgramOverlap::count(std::span<const std::vector<uint32_t>> sequences, int max_order) {
  width_ = sequences.size();
  matches_.assign(width_ * static_cast<size_t>(max_order), 0);
  numbers_.resize(width_);
  size_t symbols = 0;
  for (size_t s = 0; s < width_; ++s) {
    numbers_[s].assign(sequences[s].size(), 0);
    symbols += sequences[s].size();
  }
  for (int order = 1; order <= max_order; ++order) {
    table_.assign(std::bit_ceil(2 * symbols + 1), {0, 0});
    counts_.clear();
    for (size_t s = 0; s < width_; ++s) {
      const int64_t positions = ngrams_of(sequences[s].size(), order);
      for (int64_t i = 0; i < positions; ++i) {
        uint32_t& number = numbers_[s][i];
        number = number_of(uint64_t{number} << 32 | sequences[s][i + order - 1]);
        ++counts_[number * width_ + s];
      }
    }
    int64_t* const matches = matches_.data() + row(order);
    for (size_t n = 0; n < counts_.size(); n += width_) {
      const uint32_t in_hypothesis = counts_[n];
      uint32_t most = 0;
      for (size_t s = 1; s < width_; ++s) {
        matches[s] += std::min(in_hypothesis, counts_[n + s]);
        most = std::max(most, counts_[n + s]);
      }
      matches[0] += std::min(in_hypothesis, most);
    }
  }
}

}  // namespace chorus::inline metrics
