// What memory is planned by.
#include <algorithm>
#include <functional>

#include <gtest/gtest.h>

#include "data/batch_corpus.h"

namespace chorus {
namespace {

TEST(LargestBatches, AreThoseOfAnEpoch) {
  BatchCorpus corpus;
  corpus.add("en", "de", 300);
  const DataSet data = corpus.open();
  BatchStream stream(data, corpus.options);
  const std::vector<PaddedShape> largest = stream.largest();
  const auto sizes = [](const PaddedShape& b) {
    const int64_t s = b.source_length, t = b.target_length;
    return std::vector{b.rows * s, b.rows * t, b.rows * s * s, b.rows * t * t, b.rows * s * t};
  };
  std::vector<PaddedShape> served;
  while (stream.position().epoch == 0) {
    for (const MicroBatch& batch : stream.next()) served.push_back(shape_of(batch));
  }
  ASSERT_GT(served.size(), largest.size());
  for (const PaddedShape& batch : served) {
    EXPECT_TRUE(std::ranges::any_of(largest,
                                    [&](const PaddedShape& other) {
                                      return std::ranges::equal(sizes(batch), sizes(other),
                                                                std::less_equal());
                                    }))
        << batch.rows << " x " << batch.source_length << ", " << batch.target_length;
  }
  for (const PaddedShape& shape : largest) {
    EXPECT_TRUE(std::ranges::any_of(served, [&](const PaddedShape& batch) {
      return sizes(batch) == sizes(shape) && batch.source_tokens() == shape.source_tokens() &&
             batch.target_tokens() == shape.target_tokens();
    }));
  }
}

TEST(LargestBatches, MayBeOfALaterPhase) {
  BatchCorpus corpus;
  corpus.add("en", "de", 100);
  const std::string line(90, 'x');
  for (const char* language : {"en", "de"})
    write_lines(corpus.folder / (std::string("long.") + language), std::vector<std::string>(20, line));
  corpus.sources.push_back(
      {.files = (corpus.folder / "long.{lang}").string(), .languages = {"en", "de"}, .weight = 0});
  const auto longest = [&] {
    const DataSet data = corpus.open();
    int64_t most = 0;
    for (const PaddedShape& shape : BatchStream(data, corpus.options).largest())
      most = std::max(most, shape.source_length);
    return most;
  };
  const int64_t short_ones = longest();
  corpus.options.curriculum = {{.update = 2, .weights = {"train[0]=0", "train[1]=1"}}};
  EXPECT_GT(longest(), short_ones);
}

}  // namespace
}  // namespace chorus
