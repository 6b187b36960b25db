// data.source_sampling and data.target_sampling: what is read, and what batches are made of it.
#include <algorithm>
#include <array>

#include <gtest/gtest.h>

#include "data/batches.h"
#include "data/corpus.h"
#include "data/dataset.h"

namespace chorus {
namespace {

struct SampledCorpus {
  TemporaryFolder folder;
  std::vector<SourceConfig> sources;
  DataSet::Options options;
  Vocabulary vocabulary =
      small_vocabulary().with_tags(std::vector<std::string>{std::string(kMask), task_tag("denoise")});

  explicit SampledCorpus(int64_t rows) {
    for (const char* language : {"en", "de"})
      write_lines(folder / (std::string("text.") + language), sentences(language, rows));
    sources.push_back(
        {.files = (folder / "text.{lang}").string(), .languages = {"en", "de"}, .directions = {"en-de"}});
    options.store = folder / "store";
  }
  DataSet open() const { return {sources, vocabulary, options}; }
};

TEST(SampledPieces, AreOfTheSidesThatAreToHaveThem) {
  SampledCorpus corpus(40);
  const Vocabulary& vocabulary = corpus.vocabulary;
  corpus.options.denoise = {{.noise = {.mask = 0, .drop = 0, .shuffle = 0}}};
  const DataSet plain = corpus.open();
  EXPECT_FALSE(plain.is_sampled());
  corpus.options.max_length = plain.parts()[0].longest + 2;
  std::vector<uint64_t> hashes = {plain.hash()};
  for (const auto& [source, target] : {std::pair{0.1, 0.0}, {0.0, 0.1}, {0.1, 0.1}}) {
    corpus.options.source_sampling = source;
    corpus.options.target_sampling = target;
    const DataSet data = corpus.open();
    EXPECT_TRUE(data.is_sampled());
    EXPECT_EQ(data.parts()[0].longest, corpus.options.max_length);
    hashes.push_back(data.hash());
    int64_t sources_cut = 0, targets_cut = 0, as_long = 0, cut_twice = 0;
    for (int64_t part = 0; part < 3; ++part) {  // en-de, denoise:en, denoise:de
      for (int64_t i = 0; i < 40; ++i) {
        const RandomKey key = RandomKey(5).derive(i);
        const SentencePair pair = data.read(part, i, key), stored = plain.read(part, i, key);
        EXPECT_EQ(data.read(part, i, key).source, pair.source);
        EXPECT_EQ(data.lengths(part, i, key).source, std::ssize(pair.source) + 2);
        EXPECT_EQ(data.lengths(part, i, key).target, std::ssize(pair.target) + 2);
        EXPECT_LE(std::max(std::ssize(pair.source), std::ssize(pair.target)) + 2, corpus.options.max_length);
        EXPECT_EQ(vocabulary.decode(pair.source), vocabulary.decode(stored.source));
        EXPECT_EQ(vocabulary.decode(pair.target), vocabulary.decode(stored.target));
        sources_cut += pair.source != stored.source ? 1 : 0;
        targets_cut += pair.target != stored.target ? 1 : 0;
        as_long += std::ssize(pair.source) + 2 == corpus.options.max_length ? 1 : 0;
        const std::vector<int32_t> untagged(pair.source.begin() + 1, pair.source.end());
        cut_twice += part > 0 && untagged != pair.target ? 1 : 0;
      }
    }
    EXPECT_EQ(sources_cut > 60, source > 0);
    EXPECT_EQ(sources_cut == 0, source == 0);
    EXPECT_EQ(targets_cut > 60, target > 0);
    EXPECT_EQ(targets_cut == 0, target == 0);
    EXPECT_EQ(as_long > 0, source > 0);
    EXPECT_GT(cut_twice, 40) << "both sides of a task are one sentence";
  }
  std::ranges::sort(hashes);
  EXPECT_EQ(std::ranges::unique(hashes).size(), 0U);
}

TEST(SampledPieces, MayBeAsLongAsSentencesMay) {
  SampledCorpus corpus(5);
  corpus.options.max_length = 100;
  const BatchOptions options = {.batch_tokens = 99};
  EXPECT_NO_THROW(BatchStream(corpus.open(), options));
  corpus.options.source_sampling = 0.1;
  EXPECT_NE(message_of<UserError>([&] {
              const DataSet data = corpus.open();
              BatchStream(data, options);
            })
                .find("99 has no room for a sentence as long as data.max_length, which sampled pieces may "
                      "be, of 100"),
            std::string::npos);
}

TEST(SampledPieces, AreOfOtherBatchesWithAnotherLongestLength) {
  SampledCorpus corpus(5);
  const auto hash = [&](int64_t max_length) {
    corpus.options.max_length = max_length;
    return corpus.open().hash();
  };
  EXPECT_EQ(hash(100), hash(90));
  corpus.options.source_sampling = 0.1;
  EXPECT_NE(hash(100), hash(90));
}

TEST(SampledPieces, KeepToTheBudgetAndAreAFunctionOfThePosition) {
  SampledCorpus corpus(600);
  corpus.options.max_length = 64;
  corpus.options.source_sampling = 0.2;
  corpus.options.target_sampling = 0.1;
  const DataSet data = corpus.open();
  BatchOptions options = {
      .seed = 5, .temperature = 1, .batch_tokens = 300, .micro_batches = 3, .pool_batches = 4};
  const auto ids_of = [](const std::vector<MicroBatch>& batches) {
    std::vector<std::vector<int32_t>> ids;
    for (const MicroBatch& batch : batches) {
      ids.push_back(batch.source);
      ids.push_back(batch.target_input);
    }
    return ids;
  };
  BatchStream stream(data, options);
  std::vector<DataPosition> positions;
  std::vector<std::vector<std::vector<int32_t>>> batches;
  std::array<int64_t, 2> tokens = {};  // of each epoch
  while (stream.position().epoch < 2) {
    positions.push_back(stream.position());
    const auto next = stream.next();
    batches.push_back(ids_of(next));
    for (const MicroBatch& batch : next) {
      EXPECT_LE(batch.rows * std::max(batch.source_length, batch.target_length), options.batch_tokens);
      tokens.at(positions.back().epoch) += batch.source_tokens;
    }
  }
  EXPECT_NE(tokens[0], tokens[1]) << "each epoch has other pieces";
  options.threads = 3;
  BatchStream other(data, options);
  for (const size_t i : {size_t{5}, size_t{0}, positions.size() - 3}) {
    other.seek(positions[i]);
    for (size_t k = i; k < i + 3; ++k) EXPECT_EQ(ids_of(other.next()), batches[k]) << i << " " << k;
  }
  options.batch_tokens = 63;
  EXPECT_NE(message_of<UserError>([&] { BatchStream(data, options); }).find("of 64 tokens"),
            std::string::npos);
}

}  // namespace
}  // namespace chorus
