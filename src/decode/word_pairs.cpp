#include "decode/internal/word_pairs.h"

#include <array>
#include <unordered_map>

#include "io/files.h"

namespace chorus::inline decode {
namespace {

constexpr int kRounds = 5;

/// That a word comes from another.
struct Lexeme {
  uint64_t from = 0;
  double probability = 1;  // of what comes from `from`; at first the same for all
  double count = 0;
};

/// What the words of a pair may come from: [into x (from + 1)], the last being nobody.
struct Choices {
  std::vector<Lexeme*> of;
  size_t from = 0;  // with nobody

  /// The probability of each choice, given the words of both sides.
  [[nodiscard]] std::vector<double> posterior() const {
    std::vector<double> shares;
    shares.reserve(of.size());
    for (size_t i = 0; i < of.size(); i += from) {
      double sum = 0;
      for (size_t k = i; k < i + from; ++k) sum += of[k]->probability;
      for (size_t k = i; k < i + from; ++k) shares.push_back(of[k]->probability / sum);
    }
    return shares;
  }
};

/// Trains model 1, and returns its probabilities for each pair, as Choices::of.
std::vector<std::vector<double>> train_model1(std::span<const WordPair> pairs, bool forward) {
  constexpr uint64_t kNobody = 0;
  std::unordered_map<uint64_t, Lexeme> table;
  std::vector<Choices> choices;
  choices.reserve(pairs.size());
  for (const WordPair& pair : pairs) {
    std::vector<uint64_t> from = forward ? pair.source : pair.target;
    from.push_back(kNobody);
    Choices& own = choices.emplace_back();
    own.from = from.size();
    for (const uint64_t into : forward ? pair.target : pair.source) {
      for (const uint64_t word : from) {
        const std::array<uint64_t, 2> both = {word, into};
        Lexeme& entry = table[hash_bytes(std::as_bytes(std::span(both)))];
        entry.from = word;
        own.of.push_back(&entry);
      }
    }
  }
  for (int round = 0; round < kRounds; ++round) {
    std::unordered_map<uint64_t, double> totals;
    for (const Choices& own : choices) {
      const std::vector<double> shares = own.posterior();
      for (size_t k = 0; k < shares.size(); ++k) {
        own.of[k]->count += shares[k];
        totals[own.of[k]->from] += shares[k];
      }
    }
    for (auto& [key, entry] : table) {
      entry.probability = entry.count / totals.at(entry.from);
      entry.count = 0;
    }
  }
  std::vector<std::vector<double>> shares;
  shares.reserve(pairs.size());
  for (const Choices& own : choices) shares.push_back(own.posterior());
  return shares;
}

}  // namespace

std::vector<std::vector<WordLink>> sure_links(std::span<const WordPair> pairs) {
  const auto forward = train_model1(pairs, true), backward = train_model1(pairs, false);
  std::vector<std::vector<WordLink>> links(pairs.size());
  for (size_t p = 0; p < pairs.size(); ++p) {
    const size_t sources = pairs[p].source.size(), targets = pairs[p].target.size();
    for (size_t t = 0; t < targets; ++t) {
      for (size_t s = 0; s < sources; ++s) {
        if (forward[p][t * (sources + 1) + s] > 0.5 && backward[p][s * (targets + 1) + t] > 0.5)
          links[p].emplace_back(s, t);
      }
    }
  }
  return links;
}

}  // namespace chorus::inline decode
