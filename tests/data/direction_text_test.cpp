#include "data/direction_text.h"

#include <gtest/gtest.h>

#include "data/corpus.h"
#include "data/t5_model.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

using Lines = std::vector<std::string>;

struct Folder : TextFolder {
  Folder() {
    static_cast<void>(file("a.en", "one\n\nthree\nfour\n"));
    static_cast<void>(file("a.de", "eins\nzwei\ndrei\nvier\n"));
    static_cast<void>(file("b.tsv", "five\tfünf\nbroken\nsix\tsechs\n"));
  }
  [[nodiscard]] std::vector<SourceConfig> sources(const Lines& directions) const {
    const SourceConfig files = {
        .files = (path() / "a.{lang}").string(), .languages = {"en", "de"}, .directions = directions};
    SourceConfig table = files;
    table.files.clear();
    table.tsv = (path() / "b.tsv").string();
    return {files, table};
  }
};

TEST(DirectionText, TakesTheUsableRowsOfAllSources) {
  const Folder folder;
  const std::vector<DirectionText> all = read_directions(folder.sources({}), 0);
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].name, "en-de");
  EXPECT_EQ(all[0].sources, (Lines{"one", "three", "four", "five", "six"}));
  EXPECT_EQ(all[0].references, (Lines{"eins", "drei", "vier", "fünf", "sechs"}));
  EXPECT_EQ(all[1].from, "de");
  EXPECT_EQ(all[1].sources, all[0].references);
  const std::vector<DirectionText> some = read_directions(folder.sources({"de-en"}), 4);
  ASSERT_EQ(some.size(), 1U);
  EXPECT_EQ(some[0].references, (Lines{"one", "three", "four", "five"})) << "the first four";
}

TEST(DirectionText, RefusesADirectionWithoutText) {
  const TextFolder folder;
  static_cast<void>(folder.file("a.en", "one\n\n"));
  static_cast<void>(folder.file("a.de", "\nzwei\n"));
  const SourceConfig source = {.files = (folder / "a.{lang}").string(), .languages = {"en", "de"}};
  EXPECT_EQ(message_of<UserError>([&] {
              read_directions({&source, 1}, 0);
            }),
            "direction en-de has no line with text on both sides");
}

TEST(DirectionText, LeavesOutPairsThatAreTooLong) {
  const Vocabulary& vocabulary = small_vocabulary();
  const DirectionText text = {.name = "en-de",
                              .from = "en",
                              .to = "de",
                              .sources = sentences("en", 200),
                              .references = sentences("de", 200)};
  const auto rows = [&](int64_t longest) {
    int64_t count = 0;
    for (const MicroBatch& batch : batches_of(text, vocabulary, longest)) {
      EXPECT_LE(std::max(batch.source_length, batch.target_length), longest);
      EXPECT_GT(batch.rows, 0);
      count += batch.rows;
    }
    return count;
  };
  EXPECT_EQ(rows(1000), 200);
  int64_t expected = 0;
  for (size_t i = 0; i < 200; ++i) {
    const size_t source = vocabulary.encode(text.sources[i]).size(),
                 target = vocabulary.encode(text.references[i]).size();
    expected += std::max(source, target) + 2 <= 30 ? 1 : 0;
  }
  EXPECT_EQ(rows(30), expected);
  EXPECT_GT(expected, 0);
  EXPECT_EQ(rows(2), 0);
}

TEST(DirectionText, IsCutByTheModelOfItsSide) {
  const TextFolder folder;
  const auto model = folder.file("source.spm", model_beginning_with({{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}}));
  VocabularyLayout layout = {
      .pieces = {"▁", "<pad>", "</s>", "<unk>", "▁wald", ">>deu<<"},
      .target_model = model_beginning_with({{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}, {"▁wald", 1}}),
      .source_language = "eng"};
  for (char letter = 'a'; letter <= 'z'; ++letter) layout.pieces.emplace_back(1, letter);
  const Vocabulary vocabulary = Vocabulary::load(model, layout);
  const DirectionText text = {
      .name = "eng-deu", .from = "eng", .to = "deu", .sources = {"wald"}, .references = {"wald"}};
  const std::vector<SentencePair> pairs = encoded_pairs(text, vocabulary, 100);
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_EQ(pairs[0].source.size(), 5U) << "a space and letters";
  ASSERT_EQ(pairs[0].target.size(), 1U);
  EXPECT_EQ(vocabulary.name_of(pairs[0].target[0]), "▁wald");
  EXPECT_EQ(pairs[0].source_tag, vocabulary.tag("deu"));
}

}  // namespace
}  // namespace chorus
