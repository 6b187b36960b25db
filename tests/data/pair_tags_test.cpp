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

/// Two SentencePiece models over one list: a to z and words in both, "über" in the targets' alone; the list has more.
struct MarianVocabulary {
  TemporaryFolder folder;
  VocabularyLayout layout = {
      .pieces = {"▁last", "<pad>", "</s>", "<unk>", "▁the", "▁", "a", "b", "▁über", "漢"},
      .target_model =
          model_beginning_with({{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}, {"▁über", 1}, {"▁last", 1}}),
      .source_language = "en"};
  [[nodiscard]] Vocabulary load() const {
    write_file_atomically(folder / "source.spm",
                          model_beginning_with({{"<unk>", 2}, {"<s>", 3}, {"</s>", 3}}));
    return Vocabulary::load(folder / "source.spm", layout);
  }
};

TEST(VocabularyOfMarian, HasAModelForEachSideAndOneListForBoth) {
  MarianVocabulary made;
  made.layout.target_language = "de";
  const Vocabulary both = made.load();
  using Ids = std::vector<int32_t>;
  EXPECT_TRUE(both.is_marian());
  EXPECT_EQ(both.size(), 10);
  EXPECT_EQ(both.encode("the ab"), (Ids{4, 5, 6, 7}));
  EXPECT_EQ(both.encode("über c"), (Ids{5, kUnk, 7, kUnk, kUnk, 5, kUnk}))
      << "ü, and e, r and c, which the list has not";
  EXPECT_EQ(both.encode("a漢"), (Ids{5, 6, 9})) << "unknown to the model, but not to the list";
  EXPECT_EQ(both.target().encode("über last the"), (Ids{8, 0, 4}));
  EXPECT_EQ(both.written_in("de").encode("last"), Ids{0});
  EXPECT_EQ(both.written_in("en").encode("a"), (Ids{5, 6}));
  EXPECT_EQ(both.encode(" "), Ids{});
  EXPECT_EQ(both.decode(Ids{kPad, 8, 0, 4, 9, kEos}), "über last the漢");
  EXPECT_TRUE(both.is_text(0) && both.is_text(9) && both.starts_word(0));
  EXPECT_FALSE(both.is_text(kPad) || both.is_text(kEos) || both.is_text(kUnk));
  EXPECT_EQ(both.languages(), (std::vector<std::string>{"en", "de"}));
  for (const char* from : {"en", ""})
    for (const char* to : {"de", ""}) EXPECT_EQ(both.pair_tags(from, to).source, kNoTag);
  for (const auto& [from, to] : {std::pair{"de", ""}, {"", "en"}, {"xx", ""}, {"", "xx"}})
    EXPECT_THROW((void)both.pair_tags(from, to), UserError) << from << to;
  EXPECT_FALSE(both.needs_source_language() || both.needs_target_language());
  EXPECT_THROW((void)both.with_tags(std::vector<std::string>{"fr"}), UserError);
  EXPECT_NE(both.hash(), MarianVocabulary().load().hash());
}

TEST(VocabularyOfMarian, TagsOfTargetsStandOnTheSource) {
  MarianVocabulary made;
  made.layout.pieces.insert(made.layout.pieces.end(), {">>fra<<", ">>por_Latn<<", ">>no name<<"});
  const Vocabulary vocabulary = made.load();
  EXPECT_EQ(vocabulary.languages(), (std::vector<std::string>{"en", "fra", "por_Latn"}));
  EXPECT_EQ(vocabulary.pair_tags("", "por_Latn").source, 11);
  EXPECT_EQ(vocabulary.pair_tags("en", "fra").source, 10);
  EXPECT_EQ(vocabulary.pair_tags("en", "fra").target, kNoTag);
  EXPECT_TRUE(vocabulary.is_tag(10));
  EXPECT_FALSE(vocabulary.is_text(10));
  EXPECT_TRUE(vocabulary.is_text(12));
  EXPECT_TRUE(vocabulary.needs_target_language());
  EXPECT_THROW((void)vocabulary.pair_tags("en", ""), UserError);
  EXPECT_THROW((void)vocabulary.pair_tags("fra", "fra"), UserError);
  EXPECT_EQ(vocabulary.decode(std::vector<int32_t>{10, 4}), "the");
}

TEST(VocabularyOfMarian, ListsThatDoNotFitAreRefused) {
  const auto refused = [](const auto& change) {
    MarianVocabulary made;
    change(made.layout);
    EXPECT_THROW((void)made.load(), UserError);
  };
  refused([](VocabularyLayout& layout) { layout.pieces[1] = "<s>"; });
  refused([](VocabularyLayout& layout) { layout.pieces[4] = "a"; });
  refused([](VocabularyLayout& layout) { layout.pieces.resize(3); });
  refused([](VocabularyLayout& layout) { layout.target_model = "x"; });
  refused([](VocabularyLayout& layout) { layout.target_model.resize(layout.target_model.size() / 2); });
  refused([](VocabularyLayout& layout) { layout.source_language = "e n"; });
}

}  // namespace
}  // namespace chorus
