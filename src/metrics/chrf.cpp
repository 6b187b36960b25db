#include "metrics/chrf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include <fmt/format.h>

#include "base/utf8.h"
#include "metrics/report.h"

#include "metrics/internal/bootstrap.h"
#include "metrics/internal/ngrams.h"
#include "metrics/internal/references.h"
#include "metrics/internal/text.h"

namespace chorus::inline metrics {
namespace {

constexpr int kCharacterOrder = 6;
constexpr int kBeta = 2;

// Of one order of n-grams.
struct Counts {
  int64_t hypothesis = 0, reference = 0, both = 0;
};

bool is_ascii_punctuation(char32_t c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') || (c >= '{' && c <= '~');
}

// A punctuation mark at the end of a word stands alone; if there is none, one at its beginning does.
std::vector<std::u32string_view> words_of(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (const std::u32string_view word : metrics::split(text)) {
    size_t cut = 0;
    if (word.size() > 1 && is_ascii_punctuation(word.back()))
      cut = word.size() - 1;
    else if (word.size() > 1 && is_ascii_punctuation(word.front()))
      cut = 1;
    if (cut > 0) words.push_back(word.substr(0, cut));
    words.push_back(word.substr(cut));
  }
  return words;
}

// sacreBLEU works in fp32 on resamples.
template <class Real>
double f_score(std::span<const Counts> orders) {
  Real precision = 0, recall = 0;
  int effective_orders = 0;
  for (const Counts& n : orders) {
    if (n.hypothesis == 0 || n.reference == 0) continue;
    precision += static_cast<Real>(n.both) / static_cast<Real>(n.hypothesis);
    recall += static_cast<Real>(n.both) / static_cast<Real>(n.reference);
    ++effective_orders;
  }
  if (effective_orders == 0 || precision + recall == 0) return 0;
  precision /= static_cast<Real>(effective_orders);
  recall /= static_cast<Real>(effective_orders);
  constexpr Real kFactor = kBeta * kBeta;
  // In sacreBLEU's order of operations, so that a tie between two references, or in the last digit, is broken
  // alike.
  Real score = (1 + kFactor) * precision * recall;
  score /= kFactor * precision + recall;
  return 100 * score;
}

// The characters that count.
std::vector<uint32_t> symbols_of(std::u32string_view text) {
  std::vector<uint32_t> symbols;
  for (const char32_t c : text)
    if (!is_python_space(c)) symbols.push_back(c);
  return symbols;
}

// The symbols of one line and its references: characters and, for chrF++, words.
class Segment {
 public:
  Segment(size_t references, const ChrfOptions& options)
      : options_(options), characters_(1 + references), words_(1 + references) {}

  void set(size_t sequence, const std::string& line) {
    const std::u32string text = to_utf32(options_.lowercase ? metrics::lower(line) : line);
    characters_[sequence] = symbols_of(text);
    if (options_.word_order == 0) return;
    words_[sequence].clear();
    for (const std::u32string_view word : words_of(text)) words_[sequence].push_back(ids_(to_utf8(word)));
  }

  // The counts, by order, against the reference that gives the highest score; the first of equals.
  std::vector<Counts> best() {
    character_overlap_.count(characters_, kCharacterOrder);
    word_overlap_.count(words_, options_.word_order);
    std::vector<Counts> best, counts;
    for (size_t r = 1; r < characters_.size(); ++r) {
      counts.clear();
      append(counts, characters_, character_overlap_, {kCharacterOrder, r});
      append(counts, words_, word_overlap_, {options_.word_order, r});
      if (best.empty() || f_score<double>(counts) > f_score<double>(best)) best = counts;
    }
    return best;
  }

 private:
  struct Which {
    int orders;
    size_t reference;
  };

  static void append(std::vector<Counts>& counts, std::span<const std::vector<uint32_t>> sequences,
                     const metrics::NgramOverlap& overlap, Which which) {
    for (int n = 1; n <= which.orders; ++n) {
      const int64_t in_reference = metrics::ngrams_of(sequences[which.reference].size(), n);
      // An order that the reference lacks does not count against the hypothesis.
      const int64_t in_hypothesis = in_reference > 0 ? metrics::ngrams_of(sequences[0].size(), n) : 0;
      counts.push_back({in_hypothesis, in_reference, overlap.matches(n, which.reference)});
    }
  }

  ChrfOptions options_;
  std::vector<std::vector<uint32_t>> characters_, words_;  // the hypothesis, then the references
  metrics::WordIds ids_;
  metrics::NgramOverlap character_overlap_, word_overlap_;
};

constexpr size_t kCounts = 3;  // of each order

double score_of_counts(std::span<const float> statistics) {
  std::vector<Counts> counts;
  for (size_t i = 0; i < statistics.size(); i += kCounts)
    counts.push_back(
        {std::llround(statistics[i]), std::llround(statistics[i + 1]), std::llround(statistics[i + 2])});
  return f_score<float>(counts);
}

ChrfScore corpus_chrf(std::span<const std::string> hypotheses, const metrics::References& references,
                      const ChrfOptions& options) {
  metrics::check_lines(hypotheses.size(), references);
  std::vector<Counts> total(kCharacterOrder + options.word_order);
  std::vector<float> statistics;  // [lines, orders, kCounts], for resampling
  Segment segment(references.size(), options);
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    segment.set(0, hypotheses[i]);
    for (size_t r = 0; r < references.size(); ++r) segment.set(r + 1, references[r][i]);
    const std::vector<Counts> best = segment.best();
    for (size_t n = 0; n < total.size(); ++n) {
      total[n].hypothesis += best[n].hypothesis;
      total[n].reference += best[n].reference;
      total[n].both += best[n].both;
      if (options.resamples > 0)
        for (const int64_t count : {best[n].hypothesis, best[n].reference, best[n].both})
          statistics.push_back(static_cast<float>(count));
    }
  }
  return {
      .score = f_score<double>(total),
      .name = fmt::format("chrF{}{}", kBeta, std::string(options.word_order, '+')),
      .resampled = metrics::resample(statistics, total.size() * kCounts, options.resamples, score_of_counts),
      .signature =
          fmt::format("nrefs:{}{}|case:{}|eff:yes|nc:{}|nw:{}|space:no|version:{}", references.size(),
                      metrics::resampling_signature(options.resamples), options.lowercase ? "lc" : "mixed",
                      kCharacterOrder, options.word_order, kMetricsVersion)};
}

}  // namespace

ChrfScore chrf(std::span<const std::string> hypotheses, std::span<const std::string> references,
               const ChrfOptions& options) {
  return corpus_chrf(hypotheses, metrics::one_reference(references), options);
}

ChrfScore chrf(std::span<const std::string> hypotheses, std::span<const std::vector<std::string>> references,
               const ChrfOptions& options) {
  return corpus_chrf(hypotheses, metrics::several_references(references), options);
}

std::vector<double> expected_chrf(std::span<const std::string> lines) {
  std::vector<std::vector<uint32_t>> symbols;
  for (const std::string& line : lines) symbols.push_back(symbols_of(to_utf32(line)));
  const metrics::NgramPairs pairs(symbols, kCharacterOrder);
  return metrics::mean_over_others(lines.size(), [&](size_t hypothesis, size_t reference) {
    std::array<Counts, kCharacterOrder> counts;
    for (int n = 1; n <= kCharacterOrder; ++n) {
      counts[n - 1] = {metrics::ngrams_of(symbols[hypothesis].size(), n),
                       metrics::ngrams_of(symbols[reference].size(), n),
                       pairs.matches(n, std::min(hypothesis, reference), std::max(hypothesis, reference))};
    }
    return f_score<double>(counts);
  });
}

}  // namespace chorus::inline metrics
