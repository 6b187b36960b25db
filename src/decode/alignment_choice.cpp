#include "decode/alignment_choice.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "data/line_reader.h"
#include "io/files.h"

#include "decode/internal/attention.h"
#include "decode/internal/word_pairs.h"

namespace chorus::inline decode {

namespace {

int64_t count_words(const Vocabulary& vocabulary, std::span<const int32_t> pieces) {
  return pieces.empty() ? 0 : words_of(vocabulary, pieces).back() + 1;
}

/// Returns for each word a number that stands for its pieces.
std::vector<uint64_t> word_numbers(const Vocabulary& vocabulary, std::span<const int32_t> pieces) {
  const std::vector<int64_t> words = words_of(vocabulary, pieces);
  std::vector<uint64_t> numbers;
  for (size_t begin = 0, end = 0; begin < words.size(); begin = end) {
    while (end < words.size() && words[end] == words[begin]) ++end;
    numbers.push_back(hash_bytes(std::as_bytes(pieces.subspan(begin, end - begin))));
  }
  return numbers;
}

/// What one layer and head got right.
struct Hits {
  int64_t links = 0, sure = 0, possible = 0;

  void add(const std::vector<WordLink>& found, const std::set<WordLink>& sure_ones,
           const std::set<WordLink>& possible_ones) {
    links += std::ssize(found);
    for (const WordLink& link : found) {
      sure += sure_ones.contains(link) ? 1 : 0;
      possible += possible_ones.contains(link) ? 1 : 0;
    }
  }
};

}  // namespace

GoldLinks parse_links(std::string_view line) {
  GoldLinks gold;
  for (const std::string_view word : split(line, ' ')) {
    if (word.empty()) continue;
    WordLink link;
    const char* const end = word.data() + word.size();
    const auto [sign, wrong] = std::from_chars(word.data(), end, link.first);
    const bool is_sure = wrong == std::errc() && sign != end && *sign == '-';
    const bool is_possible = wrong == std::errc() && sign != end && (*sign == '?' || *sign == 'p');
    const auto after = is_sure || is_possible ? std::from_chars(sign + 1, end, link.second)
                                              : std::from_chars_result{sign, std::errc::invalid_argument};
    if (after.ec != std::errc() || after.ptr != end || link.first < 0 || link.second < 0)
      throw Error("'{}' is no link, such as 0-0 (sure) or 1?2 (possible)", one_line(word));
    if (is_sure) gold.sure.push_back(link);
    gold.possible.push_back(link);
  }
  return gold;
}

std::vector<GoldLinks> read_gold(const std::filesystem::path& path, const Vocabulary& vocabulary,
                                 std::span<const SentencePair> pairs) {
  LineReader reader(path);
  std::vector<GoldLinks> gold;
  while (reader.next()) {
    const auto where = [&] { return fmt::format("{}, line {}", path.string(), reader.number()); };
    try {
      gold.push_back(parse_links(trim(reader.text())));
    } catch (const Error& error) {
      throw UserError("{}: {}", where(), error.what());
    }
    if (gold.size() > pairs.size()) continue;
    const SentencePair& pair = pairs[gold.size() - 1];
    const int64_t sources = count_words(vocabulary, pair.source),
                  targets = count_words(vocabulary, pair.target);
    for (const auto& [source, target] : gold.back().possible) {
      if (source >= sources || target >= targets) {
        throw UserError(
            "{}: the link {}-{}, where the source has {} and the target {}, from 0 (is the source first?)",
            where(), source, target, counted(sources, "word"), counted(targets, "word"));
      }
    }
  }
  if (gold.size() != pairs.size()) {
    throw UserError(
        "{} has {}, and the text {} that can be used: they belong line to line, so leave out the others",
        path.string(), counted(gold.size(), "line"), counted(pairs.size(), "pair"));
  }
  if (std::ranges::all_of(gold, &std::vector<WordLink>::empty, &GoldLinks::possible))
    throw UserError("{} has no link in any line: write them as 0-0 (sure) or 1?2 (possible)", path.string());
  return gold;
}

std::vector<GoldLinks> links_by_counts(const Vocabulary& vocabulary, std::span<const SentencePair> pairs) {
  std::vector<WordPair> words;
  words.reserve(pairs.size());
  for (const SentencePair& pair : pairs)
    words.push_back({word_numbers(vocabulary, pair.source), word_numbers(vocabulary, pair.target)});
  std::vector<GoldLinks> gold;
  gold.reserve(pairs.size());
  bool some = false;
  for (const std::vector<WordLink>& links : sure_links(words)) {
    gold.push_back({.sure = links, .possible = links});
    some = some || !links.empty();
  }
  if (!some)
    throw UserError("the text is too little to tell which words belong together: take more, or --gold");
  return gold;
}

std::vector<AlignmentScore> score_alignments(Transformer& model, const Vocabulary& vocabulary,
                                             std::span<const SentencePair> pairs,
                                             std::span<const GoldLinks> gold, int64_t batch_tokens,
                                             const std::function<void(int64_t)>& progress) {
  const int64_t heads = model.config().attention_heads;
  std::vector<size_t> blocks;
  for (const LayerIndex& layer : model.catalogue().decoder) blocks.push_back(layer.block);
  std::vector<Hits> hits(blocks.size() * static_cast<size_t>(1 + heads));
  int64_t sure = 0, done = 0;
  for (const GoldLinks& one : gold) sure += std::ssize(one.sure);
  for_each_attention(
      model, pairs, blocks, batch_tokens, [&](size_t pair, size_t layer, const at::Tensor& weights) {
        const std::vector<int64_t> source = words_of(vocabulary, pairs[pair].source),
                                   target = words_of(vocabulary, pairs[pair].target);
        const std::set<WordLink> sure_ones(gold[pair].sure.begin(), gold[pair].sure.end()),
            possible_ones(gold[pair].possible.begin(), gold[pair].possible.end());
        Hits* const of_layer = &hits[layer * static_cast<size_t>(1 + heads)];
        for (int64_t head = -1; head < heads; ++head)
          of_layer[1 + head].add(links_of(head < 0 ? weights.mean(0) : weights[head], source, target),
                                 sure_ones, possible_ones);
        if (progress && layer + 1 == blocks.size()) progress(++done);
      });
  std::vector<AlignmentScore> scores;
  scores.reserve(hits.size());
  for (const Hits& one : hits) {
    const auto i = static_cast<int64_t>(scores.size());
    scores.push_back({.layer = i / (1 + heads),
                      .head = i % (1 + heads) - 1,
                      .error = 1 - static_cast<double>(one.sure + one.possible) /
                                       static_cast<double>(std::max<int64_t>(1, one.links + sure))});
  }
  return scores;
}

}  // namespace chorus::inline decode
