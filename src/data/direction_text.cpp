#include "data/direction_text.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "data/batches.h"
#include "data/parallel_text.h"
#include "data/sources.h"

namespace chorus::inline data {

namespace {

constexpr size_t kMostPairs = 5'000'000;  // of a direction, which are all kept

/// Adds up to `limit` pairs of each direction of a source to `directions`, which keeps the order of first
/// mention.
void read_pairs(const SourceConfig& source, const std::string& where, int64_t limit,
                std::vector<DirectionText>& directions) {
  const auto selected = expand_directions(source, where);
  std::vector<size_t> at;
  for (const auto& [from, to] : selected) {
    const std::string name = source.languages[from] + "-" + source.languages[to];
    const auto found = std::find_if(directions.begin(), directions.end(),
                                    [&](const DirectionText& p) { return p.name == name; });
    at.push_back(static_cast<size_t>(found - directions.begin()));
    if (found == directions.end())
      directions.push_back({name, source.languages[from], source.languages[to], {}, {}});
  }
  ParallelReader reader(text_source(source));
  std::vector<int64_t> rows(selected.size()), unread(selected.size());  // of each direction
  const auto can_be_read = [](const Cell& cell) {
    return cell.status == CellStatus::ok || cell.status == CellStatus::empty;
  };
  const auto is_full = [&](size_t i) { return limit > 0 && std::ssize(directions[i].sources) >= limit; };
  while (!std::ranges::all_of(at, is_full) && reader.next()) {
    for (size_t i = 0; i < selected.size(); ++i) {
      const Cell& from = reader.cells()[selected[i].first];
      const Cell& to = reader.cells()[selected[i].second];
      DirectionText& pairs = directions[at[i]];
      if (is_full(at[i])) continue;
      ++rows[i];
      unread[i] += can_be_read(from) && can_be_read(to) ? 0 : 1;
      if (from.status == CellStatus::ok && to.status == CellStatus::ok) {
        pairs.sources.emplace_back(from.text);
        pairs.references.emplace_back(to.text);
        if (pairs.sources.size() > kMostPairs) {
          throw UserError(
              "{}: more than {} pairs of {}: give the number of them that is wanted (--sentences)", where,
              kMostPairs, pairs.name);
        }
      }
    }
  }
  for (size_t i = 0; i < selected.size(); ++i) {
    if (unread[i] > 0)
      log_warning("{}: {} of {} of {} left out: not UTF-8, far too long, or with another number of columns",
                  where, unread[i], counted(rows[i], "row"), directions[at[i]].name);
  }
}

}  // namespace

std::vector<DirectionText> read_directions(std::span<const SourceConfig> sources, int64_t limit,
                                           std::span<const std::string> among) {
  std::vector<DirectionText> directions;
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string where = source_label(sources[i], "", i);
    for (const SourceConfig& source : find_sources(sources[i], where, {.among = among}))
      read_pairs(source, where, limit, directions);
  }
  for (const DirectionText& text : directions) {
    if (text.sources.empty()) throw UserError("direction {} has no line with text on both sides", text.name);
  }
  return directions;
}

std::vector<SentencePair> encoded_pairs(const DirectionText& text, const Vocabulary& vocabulary,
                                        int64_t longest) {
  const PairTags tags =
      vocabulary.pair_tags(vocabulary.language_of_label(text.from), vocabulary.language_of_label(text.to));
  const Vocabulary target = vocabulary.target();
  std::vector<SentencePair> pairs;
  for (size_t i = 0; i < text.sources.size(); ++i) {
    SentencePair pair = {.source = vocabulary.encode(text.sources[i]),
                         .target = target.encode(text.references[i]),
                         .source_tag = tags.source,
                         .target_tag = tags.target,
                         .before_source_tag = tags.before_source};
    if (std::cmp_less_equal(std::max(pair.source.size(), pair.target.size()) + vocabulary.tags_and_end(),
                            longest))
      pairs.push_back(std::move(pair));
  }
  return pairs;
}

void check_lengths(std::span<const DirectionText> texts, const Vocabulary& vocabulary, int64_t longest) {
  for (const DirectionText& text : texts) {
    const int64_t all = std::ssize(text.sources),
                  left_out = all - std::ssize(encoded_pairs(text, vocabulary, longest));
    if (left_out == 0) continue;
    const std::string what = fmt::format("longer than the model's {} positions on one side or both", longest);
    if (left_out == all) throw UserError("direction {}: every pair is {}", text.name, what);
    log_warning("direction {}: {} of {} left out: {}", text.name, left_out, counted(all, "pair"), what);
  }
}

std::vector<MicroBatch> batches_of(const DirectionText& text, const Vocabulary& vocabulary, int64_t longest) {
  constexpr size_t kRows = 64;
  const std::vector<SentencePair> pairs = encoded_pairs(text, vocabulary, longest);
  std::vector<MicroBatch> batches;
  batches.reserve(pairs.size() / kRows + 1);
  for (size_t begin = 0; begin < pairs.size(); begin += kRows)
    batches.push_back(make_batch(std::span(pairs).subspan(begin, std::min(kRows, pairs.size() - begin))));
  return batches;
}

}  // namespace chorus::inline data
