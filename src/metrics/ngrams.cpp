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

void NgramNumbers::start(std::span<const std::vector<uint32_t>> sequences) {
  sequences_ = sequences;
  order_ = 0;
  symbols_ = 0;
  numbers_.resize(sequences.size());
  for (size_t s = 0; s < sequences.size(); ++s) {
    numbers_[s].assign(sequences[s].size(), 0);
    symbols_ += sequences[s].size();
  }
}

size_t NgramNumbers::next() {
  ++order_;
  table_.assign(std::bit_ceil(2 * symbols_ + 1), {0, 0});
  different_ = 0;
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const int64_t positions = ngrams_of(sequences_[s].size(), order_);
    for (int64_t i = 0; i < positions; ++i) {
      uint32_t& number = numbers_[s][i];
      number = number_of(uint64_t{number} << 32 | sequences_[s][i + order_ - 1]);
    }
  }
  return different_;
}

uint32_t NgramNumbers::number_of(uint64_t key) {
  uint64_t hash = (key ^ (key >> 32)) * 0x9e3779b97f4a7c15ULL;
  hash ^= hash >> 29;
  const size_t mask = table_.size() - 1;
  for (size_t slot = hash & mask;; slot = (slot + 1) & mask) {
    auto& [slot_key, number] = table_[slot];
    if (number == 0) {
      slot_key = key;
      number = ++different_;
    }
    if (slot_key == key) return number - 1;
  }
}

void NgramOverlap::count(std::span<const std::vector<uint32_t>> sequences, int max_order) {
  width_ = sequences.size();
  matches_.assign(width_ * static_cast<size_t>(max_order), 0);
  numbers_.start(sequences);
  for (int order = 1; order <= max_order; ++order) {
    counts_.assign(numbers_.next() * width_, 0);
    for (size_t s = 0; s < width_; ++s)
      for (const uint32_t number : numbers_.of(s)) ++counts_[number * width_ + s];
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

NgramPairs::NgramPairs(std::span<const std::vector<uint32_t>> sequences, int max_order)
    : width_(sequences.size()), matches_(static_cast<size_t>(max_order) * width_ * width_, 0) {
  struct Entry {
    uint32_t sequence, count;
  };
  NgramNumbers numbers;
  numbers.start(sequences);
  std::vector<size_t> ends;
  std::vector<uint32_t> sorted;  // the sequences that have the n-gram, once for each time, n-gram by n-gram
  std::vector<Entry> entries;
  for (int order = 1; order <= max_order; ++order) {
    ends.assign(numbers.next() + 1, 0);
    for (size_t s = 0; s < width_; ++s)
      for (const uint32_t number : numbers.of(s)) ++ends[number + 1];
    for (size_t n = 1; n < ends.size(); ++n) ends[n] += ends[n - 1];
    sorted.resize(ends.back());
    for (size_t s = 0; s < width_; ++s)
      for (const uint32_t number : numbers.of(s)) sorted[ends[number]++] = static_cast<uint32_t>(s);
    uint32_t* const matches = matches_.data() + static_cast<size_t>(order - 1) * width_ * width_;
    for (size_t begin = 0, n = 0; begin < sorted.size(); begin = ends[n++]) {
      entries.clear();
      for (size_t i = begin; i < ends[n]; ++i) {
        if (entries.empty() || entries.back().sequence != sorted[i]) entries.push_back({sorted[i], 0});
        ++entries.back().count;
      }
      for (size_t a = 0; a < entries.size(); ++a) {
        uint32_t* const row = matches + entries[a].sequence * width_;
        for (size_t b = a + 1; b < entries.size(); ++b)
          row[entries[b].sequence] += std::min(entries[a].count, entries[b].count);
      }
    }
  }
}

}  // namespace chorus::inline metrics
