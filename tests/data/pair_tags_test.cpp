// What stands before the pieces of a pair's sides.
#include <gtest/gtest.h>

#include "base/error.h"
#include "data/batch.h"
#include "data/corpus.h"
#include "data/t5_model.h"
#include "data/vocabulary.h"
#include "io/files.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

TEST(Vocabulary, ThePlaceOfTheTagsIsItsOwnRule) {
  const Vocabulary& both = small_vocabulary();
  EXPECT_EQ(both.pair_tags("en", "de").source, both.tag("en"));
  EXPECT_EQ(both.pair_tags("en", "de").target, both.tag("de"));
  EXPECT_TRUE(both.needs_source_language());
  EXPECT_THROW((void)both.pair_tags("", "de"), UserError);

  const TemporaryFolder folder;
  write_file_atomically(folder / "pieces.model", both.sentencepiece());
  const Vocabulary source = Vocabulary::load(folder / "pieces.model", {.target_tag_on_source = true});
  for (const char* from : {"en", ""}) {
    EXPECT_EQ(source.pair_tags(from, "de").source, source.tag("de"));
    EXPECT_EQ(source.pair_tags(from, "de").target, kNoTag);
  }
  EXPECT_FALSE(source.needs_source_language());
  EXPECT_THROW((void)source.pair_tags("xx", "de"), UserError);
  EXPECT_THROW((void)source.pair_tags("en", ""), UserError);
  EXPECT_NE(source.hash(), both.hash());
}

TEST(VocabularyOfMadlad, KeepsSentencePiecesIdsAndPutsTheTargetsTagOnTheSource) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "spiece.model", madlad_model());
  const Vocabulary vocabulary = Vocabulary::load(folder / "spiece.model");
  using Ids = std::vector<int32_t>;
  EXPECT_TRUE(vocabulary.is_madlad());
  EXPECT_FALSE(vocabulary.is_t5());
  EXPECT_FALSE(small_vocabulary().is_madlad());
  EXPECT_EQ(vocabulary.size(), kMadladPieces);
  EXPECT_EQ(vocabulary.languages(), (std::vector<std::string>{"de", "en", "zh_Latn"}));
  EXPECT_EQ(vocabulary.tag("en"), 5);
  EXPECT_EQ(vocabulary.name_of(5), "<2en>");
  EXPECT_TRUE(vocabulary.is_tag(5));
  EXPECT_EQ(vocabulary.encode("ab the"), (Ids{7, 8, 9, 34}));
  EXPECT_EQ(vocabulary.decode(Ids{kBos, kPad, 5, 7, 8, 9, 34, kEos}), "ab the");
  EXPECT_FALSE(vocabulary.is_text(kBos)) << "the newline";
  for (const int32_t id : vocabulary.encode("a <2en> b"))
    EXPECT_NE(id, 5) << "what is spelt in the text is text";
  const PairTags tags = vocabulary.pair_tags("", "de");
  EXPECT_EQ(tags.before_source, 7) << "SentencePiece cuts <2de> the in 7 4 34";
  EXPECT_EQ(tags.source, 4);
  EXPECT_EQ(tags.target, kNoTag);
  EXPECT_FALSE(vocabulary.needs_source_language());
  EXPECT_EQ(vocabulary.tags_and_end(), 3);
  EXPECT_EQ(small_vocabulary().tags_and_end(), 2);
  EXPECT_THROW((void)vocabulary.pair_tags("", "fr"), UserError);
}

TEST(VocabularyOfMadlad, ATagThatIsCutUnlikeTheOthersIsNoLanguage) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "spiece.model", model_beginning_with({{"<unk>", 2},
                                                                       {"<s>", 3},
                                                                       {"</s>", 3},
                                                                       {"\n", 1},
                                                                       {"<2xx>", 1},
                                                                       {"▁<2xx>", 1},
                                                                       {"<2de>", 1},
                                                                       {"<2en>", 1}}));
  const Vocabulary vocabulary = Vocabulary::load(folder / "spiece.model");
  EXPECT_EQ(vocabulary.languages(), (std::vector<std::string>{"de", "en"}));
  EXPECT_EQ(vocabulary.unusable_tags(), std::vector<std::string>{"<2xx>"});
  EXPECT_EQ(vocabulary.pair_tags("", "en").source, 7);
  EXPECT_EQ(vocabulary.name_of(vocabulary.pair_tags("", "en").before_source), "▁");
}

}  // namespace
}  // namespace chorus
