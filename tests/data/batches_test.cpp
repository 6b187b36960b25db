#include "data/batches.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "data/batch_corpus.h"

namespace chorus {
namespace {

using Row = std::vector<int32_t>;

// The rows of a batch: direction, source, target.
std::vector<Row> rows_of(const MicroBatch& batch) {
  std::vector<Row> rows;
  for (int64_t r = 0; r < batch.rows; ++r) {
    Row row{batch.direction[r]};
    for (int64_t i = 0; i < batch.source_length; ++i) {
      if (batch.source[r * batch.source_length + i] != kPad)
        row.push_back(batch.source[r * batch.source_length + i]);
    }
    for (int64_t i = 0; i < batch.target_length; ++i) {
      const int32_t id = batch.target_labels[r * batch.target_length + i];
      if (id != kPad) row.push_back(id);
    }
    rows.push_back(row);
  }
  return rows;
}

std::vector<std::vector<Row>> rows_of(const std::vector<MicroBatch>& batches) {
  std::vector<std::vector<Row>> rows;
  for (const auto& batch : batches) rows.push_back(rows_of(batch));
  return rows;
}

TEST(MakeBatch, LaysOutTagsAndPadding) {
  const std::vector<SentencePair> pairs{
      {.source = {10, 11}, .target = {20}, .source_tag = 5, .target_tag = 6, .direction = 3},
      {.source = {12}, .target = {21, 22, 23}, .source_tag = 6, .target_tag = 5, .direction = 1}};
  const MicroBatch batch = make_batch(pairs);
  EXPECT_EQ(batch.rows, 2);
  EXPECT_EQ(batch.source_length, 4);
  EXPECT_EQ(batch.target_length, 5);
  EXPECT_EQ(batch.source, (Row{5, 10, 11, kEos, 6, 12, kEos, kPad}));
  EXPECT_EQ(batch.target_input, (Row{kEos, 6, 20, kPad, kPad, kEos, 5, 21, 22, 23}));
  EXPECT_EQ(batch.target_labels, (Row{kPad, 20, kEos, kPad, kPad, kPad, 21, 22, 23, kEos}));
  EXPECT_EQ(batch.direction, (Row{3, 1}));
  EXPECT_EQ(batch.source_tokens, 7);
  EXPECT_EQ(batch.target_tokens, 6);
  EXPECT_EQ(make_batch({}).rows, 0);
}

TEST(MakeBatch, LeavesOutTagsThatAreNotThere) {
  const std::vector<SentencePair> pairs{
      {.source = {10, 11}, .target = {20}, .source_tag = kNoTag, .target_tag = kNoTag},
      {.source = {}, .target = {21, 22, 23}, .source_tag = kNoTag, .target_tag = kNoTag}};
  const MicroBatch batch = make_batch(pairs);
  EXPECT_EQ(batch.source, (Row{10, 11, kEos, kEos, kPad, kPad}));
  EXPECT_EQ(batch.target_input, (Row{kEos, 20, kPad, kPad, kEos, 21, 22, 23}));
  EXPECT_EQ(batch.target_labels, (Row{20, kEos, kPad, kPad, 21, 22, 23, kEos}));
  EXPECT_EQ(batch.source_tokens, 4);
  EXPECT_EQ(batch.target_tokens, 6);
}

TEST(MakeBatch, PutsWhatStandsBeforeTheTagOnTheSource) {
  const std::vector<SentencePair> pairs{
      {.source = {10}, .target = {20}, .source_tag = 5, .target_tag = kNoTag, .before_source_tag = 9},
      {.source = {11, 12, 13}, .target = {21}, .source_tag = kNoTag, .target_tag = kNoTag}};
  const MicroBatch batch = make_batch(pairs);
  EXPECT_EQ(batch.source, (Row{9, 5, 10, kEos, 11, 12, 13, kEos}));
  EXPECT_EQ(batch.target_input, (Row{kEos, 20, kEos, 21}));
  EXPECT_EQ(batch.source_tokens, 8);
}

TEST(BatchStream, AnEpochAtTemperatureOneHoldsEveryPairOnce) {
  BatchCorpus corpus;
  corpus.add("en", "de", 333);
  corpus.add("en", "fr", 101);
  const DataSet data = corpus.open();
  std::map<Row, int> expected;
  for (size_t part = 0; part < data.parts().size(); ++part) {
    for (int64_t i = 0; i < data.parts()[part].examples; ++i) {
      ++expected[rows_of(make_batch(std::vector{data.read(static_cast<int64_t>(part), i, RandomKey())}))[0]];
    }
  }
  BatchStream stream(data, corpus.options);
  EXPECT_EQ(stream.examples_per_epoch(), 2 * (333 + 101));
  for (const int64_t epoch : {0, 1}) {
    std::map<Row, int> seen;
    while (stream.position().epoch == epoch) {
      for (const auto& batch : stream.next()) {
        for (const auto& row : rows_of(batch)) ++seen[row];
      }
    }
    EXPECT_EQ(seen, expected);
  }
}

TEST(BatchStream, KeepsToTheBudgetAndTheNumberOfMicroBatches) {
  BatchCorpus corpus;
  corpus.add("en", "de", 777);
  const DataSet data = corpus.open();
  for (const int64_t micro_batches : {1, 2, 7, 16}) {
    corpus.options.micro_batches = micro_batches;
    BatchStream stream(data, corpus.options);
    int64_t used = 0, area = 0;
    while (stream.position().epoch == 0) {
      const auto batches = stream.next();
      EXPECT_EQ(static_cast<int64_t>(batches.size()), micro_batches);
      for (const auto& batch : batches) {
        EXPECT_GT(batch.target_tokens, 0);
        EXPECT_LE(batch.rows * std::max(batch.source_length, batch.target_length),
                  corpus.options.batch_tokens);
        used += batch.source_tokens + batch.target_tokens;
        area += batch.rows * (batch.source_length + batch.target_length);
      }
    }
    EXPECT_GT(used, area * 6 / 10);  // though the two sides are of unrelated lengths
  }
}

TEST(BatchStream, SeekGivesExactlyTheFollowingBatches) {
  BatchCorpus corpus;
  corpus.add("en", "de", 200);
  corpus.add("en", "fr", 31);
  corpus.options.temperature = 5;
  const DataSet data = corpus.open();
  BatchStream stream(data, corpus.options);
  std::vector<DataPosition> positions;
  std::vector<std::vector<std::vector<Row>>> batches;
  while (stream.position().epoch < 3) {
    positions.push_back(stream.position());
    batches.push_back(rows_of(stream.next()));
  }
  EXPECT_NE(batches[0], batches[1]);
  const DataSet again = corpus.open();
  BatchStream other(again, corpus.options);
  for (size_t i = positions.size(); i-- > 0; i -= i > 3 ? 3 : 0) {
    other.seek(positions[i]);
    EXPECT_EQ(other.position(), positions[i]);
    for (size_t k = i; k < std::min(i + 4, positions.size()); ++k) {
      EXPECT_EQ(other.position(), positions[k]);
      EXPECT_EQ(rows_of(other.next()), batches[k]) << i << " " << k;
    }
  }
}

/// A corpus with two denoising tasks, and its vocabulary.
struct Denoised : BatchCorpus {
  Vocabulary vocabulary = small_vocabulary().with_tags(
      std::vector<std::string>{std::string(kMask), task_tag("denoise"), task_tag("drop")});
  std::vector<DenoiseConfig> tasks = {{}, {.name = "drop", .weight = 0, .noise = {.mask = 0, .drop = 0.5}}};
  Denoised() { add("en", "de", 400); }
  DataSet open() const {
    return {sources, vocabulary, {.store = folder / "store", .denoise = tasks, .build = {}}};
  }
};

TEST(BatchStream, MixesTasksWithNoiseThatIsDrawnAnew) {
  const Denoised corpus;
  const DataSet data = corpus.open();
  BatchStream stream(data, corpus.options);
  std::vector<int64_t> rows(3);
  std::map<Row, std::set<Row>> sources;  // of each clean sentence
  while (stream.position().epoch < 4) {
    for (const auto& batch : stream.next()) {
      EXPECT_LE(batch.rows * std::max(batch.source_length, batch.target_length), corpus.options.batch_tokens);
      for (int64_t r = 0; r < batch.rows; ++r) {
        const Direction& direction = data.directions()[batch.direction[r]];
        ++rows[direction.task];
        if (direction.task == 0) continue;
        const auto line = [&](const std::vector<int32_t>& ids, int64_t length) {
          return Row(ids.begin() + r * length, ids.begin() + (r + 1) * length);
        };
        Row source = line(batch.source, batch.source_length),
            target = line(batch.target_labels, batch.target_length);
        EXPECT_EQ(source[0], corpus.vocabulary.tag(direction.source));
        EXPECT_EQ(source[1], *corpus.vocabulary.symbol("<task:denoise>"));
        std::erase(source, kPad);
        std::erase(target, kPad);
        EXPECT_LE(source.size(), target.size() + 2);
        sources[target].insert(source);
      }
    }
  }
  EXPECT_EQ(rows[0], rows[1]);  // two directions and two languages, of one size
  EXPECT_EQ(rows[2], 0);        // its weight is 0
  const auto varied = std::count_if(sources.begin(), sources.end(),
                                    [](const auto& entry) { return entry.second.size() > 1; });
  EXPECT_GT(varied, static_cast<int64_t>(sources.size()) * 3 / 4);
}

TEST(BatchStream, ACurriculumChangesWeightsAtItsUpdate) {
  Denoised corpus;
  corpus.options.curriculum = {{.update = 3, .weights = {"denoise=0", "drop=1"}},
                               {.update = 7, .weights = {"train[0]=0"}}};
  const DataSet data = corpus.open();
  BatchStream stream(data, corpus.options);
  std::vector<DataPosition> positions;
  std::vector<std::vector<std::vector<Row>>> batches;
  for (int64_t update = 0; update < 40; ++update) {
    positions.push_back(stream.position());
    EXPECT_EQ(stream.position().update, update);
    const auto next = stream.next();
    batches.push_back(rows_of(next));
    std::set<size_t> tasks;
    for (const auto& batch : next) {
      for (const int32_t direction : batch.direction) tasks.insert(data.directions()[direction].task);
    }
    const std::set<size_t> expected = update < 3   ? std::set<size_t>{0, 1}
                                      : update < 7 ? std::set<size_t>{0, 2}
                                                   : std::set<size_t>{2};
    EXPECT_EQ(tasks, expected) << update;
  }
  EXPECT_EQ(positions[3], (DataPosition{.epoch = 1, .update = 3}));
  EXPECT_EQ(positions[7], (DataPosition{.epoch = 2, .update = 7}));
  const DataSet again = corpus.open();
  BatchStream other(again, corpus.options);
  for (const size_t i : {2, 6, 3, 7, 0, 39, 8}) {
    other.seek(positions[i]);
    for (size_t k = i; k < std::min<size_t>(i + 3, positions.size()); ++k)
      EXPECT_EQ(rows_of(other.next()), batches[k]) << i << " " << k;
  }
}

TEST(BatchStream, WrongCurriculaAreRefused) {
  Denoised corpus;
  const DataSet data = corpus.open();
  const auto message = [&](const std::vector<CurriculumConfig>& curriculum) {
    corpus.options.curriculum = curriculum;
    return message_of<UserError>([&] { BatchStream(data, corpus.options); });
  };
  EXPECT_NE(message({{.update = 1, .weights = {"denoize=1"}}}).find("denoise"), std::string::npos);
  for (const char* wrong : {"denoise", "denoise=", "denoise=-1", "denoise=nan", "denoise=1x", "=1"})
    EXPECT_TRUE(message({{.update = 1, .weights = {wrong}}}).starts_with("data.curriculum[0]: ")) << wrong;
  EXPECT_TRUE(message({{.update = 5}, {.update = 5}}).starts_with("data.curriculum[1]: "));
  EXPECT_TRUE(message({{.update = 0}}).starts_with("data.curriculum[0]: "));
  EXPECT_TRUE(
      message({{.update = 9, .weights = {"train[0]=0", "denoise=0"}}}).starts_with("all weights are 0"));
}

TEST(BatchStream, RefusesPositionsThatAreNot) {
  BatchCorpus corpus;
  corpus.add("en", "de", 20);
  const DataSet data = corpus.open();
  BatchStream stream(data, corpus.options);
  const auto first = rows_of(stream.next());
  for (const DataPosition& wrong : {DataPosition{-1, 0, 0}, DataPosition{0, 99, 0}, DataPosition{0, -1, 0},
                                    DataPosition{0, 0, 9999}, DataPosition{0, 0, -1}}) {
    EXPECT_THROW(stream.seek(wrong), Error);
  }
  stream.seek({});
  EXPECT_EQ(rows_of(stream.next()), first);
}

TEST(BatchStream, OneExampleIsACorpus) {
  BatchCorpus corpus;
  corpus.add("en", "de", 1, {"en-de"});
  const DataSet data = corpus.open();
  BatchStream stream(data, corpus.options);
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    EXPECT_EQ(stream.position(), (DataPosition{.epoch = epoch, .update = epoch}));
    const auto batches = stream.next();
    ASSERT_EQ(batches.size(), 1U);
    EXPECT_EQ(batches[0].rows, 1);
  }
}

TEST(BatchStream, SmallDirectionsAreDrawnMoreOftenAtTemperatureFive) {
  BatchCorpus corpus;
  corpus.add("en", "de", 1000, {"en-de"});
  corpus.add("en", "fr", 10, {"en-fr"});
  corpus.options.temperature = 5;
  const DataSet data = corpus.open();
  BatchStream stream(data, corpus.options);
  int64_t small = 0, all = 0;
  while (stream.position().epoch == 0) {
    for (const auto& batch : stream.next()) {
      for (const int32_t direction : batch.direction) {
        ++all;
        small += direction == 1 ? 1 : 0;
      }
    }
  }
  EXPECT_EQ(all, 1010);
  EXPECT_NEAR(static_cast<double>(small) / 1010, 1 / (1 + std::pow(100, .2)), 0.002);
}

TEST(BatchStream, RefusesABudgetBelowTheLongestSentence) {
  BatchCorpus corpus;
  corpus.add("en", "de", 100);
  const DataSet data = corpus.open();
  corpus.options.batch_tokens = 5;
  EXPECT_NE(message_of<UserError>([&] { BatchStream(data, corpus.options); }).find("data.batch_tokens = 5"),
            std::string::npos);
}

TEST(SequentialBatches, HoldEveryExampleOfTheDirectionOnce) {
  BatchCorpus corpus;
  corpus.add("en", "de", 150);
  corpus.add("en", "de", 40, {"de-en"});
  const DataSet data = corpus.open();
  for (int32_t direction = 0; direction < 2; ++direction) {
    int64_t rows = 0;
    for (const auto& batch : sequential_batches(data, direction, {.batch_tokens = 200})) {
      rows += batch.rows;
      EXPECT_TRUE(batch.rows == 1 || batch.rows * std::max(batch.source_length, batch.target_length) <= 200);
      for (const int32_t d : batch.direction) EXPECT_EQ(d, direction);
    }
    EXPECT_EQ(rows, data.examples(direction));
  }
  EXPECT_EQ(sequential_batches(data, 0, {.batch_tokens = 1}).size(), 150U);
}

// The tokens of all rows, sorted.
std::vector<std::vector<int32_t>> sources_of(const std::vector<MicroBatch>& batches) {
  std::vector<std::vector<int32_t>> rows;
  for (const MicroBatch& batch : batches) {
    for (int64_t r = 0; r < batch.rows; ++r) {
      const auto begin = batch.source.begin() + r * batch.source_length;
      rows.emplace_back(begin, begin + batch.source_length);
      std::erase(rows.back(), kPad);
    }
  }
  std::ranges::sort(rows);
  return rows;
}

TEST(SequentialBatches, HoldAFixedChoice) {
  BatchCorpus corpus;
  corpus.add("en", "de", 150);
  const DataSet data = corpus.open();
  const auto all = sources_of(sequential_batches(data, 0, {.batch_tokens = 200}));
  const auto some = sources_of(sequential_batches(data, 0, {.batch_tokens = 200, .sentences = 40}));
  EXPECT_EQ(some.size(), 40U);
  EXPECT_TRUE(std::ranges::includes(all, some));
  EXPECT_EQ(sources_of(sequential_batches(data, 0, {.batch_tokens = 90, .sentences = 40})), some);
  EXPECT_EQ(sources_of(sequential_batches(data, 0, {.batch_tokens = 200, .sentences = 400})), all);
}

}  // namespace
}  // namespace chorus
