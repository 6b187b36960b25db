// Pairs of sentences in batches, as teacher forcing takes them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"

namespace chorus::inline decode {

/// Calls work(which, batch) for batches of pairs of like length, all of them once: batch[i] is
/// pairs[which[i]]. `batch_tokens` bounds rows x longest side; a pair is never cut.
template <class Work>
void for_each_batch(std::span<const SentencePair> pairs, int64_t batch_tokens, const Work& work) {
  const auto longest_side = [&](size_t i) {
    return static_cast<int64_t>(std::max(pairs[i].source.size(), pairs[i].target.size())) + kTagAndEnd;
  };
  std::vector<size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), longest_side);
  for (size_t begin = 0; begin < order.size();) {
    const auto rows = std::clamp<size_t>(batch_tokens / longest_side(order[begin]), 1, order.size() - begin);
    const std::span which = std::span(order).subspan(begin, rows);
    std::vector<SentencePair> batch;
    for (const size_t i : which) batch.push_back(pairs[i]);
    work(std::span<const size_t>(which), std::span<const SentencePair>(batch));
    begin += rows;
  }
}

}  // namespace chorus::inline decode
