#include "data/vocabulary.h"

#include <gtest/gtest.h>

#include "base/utf8.h"
#include "corpus/vocabulary_training.h"
#include "data/batch.h"
#include "data/corpus.h"
#include "data/sentencepiece_model.h"
#include "data/t5_model.h"
#include "io/files.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

struct VocabularyCorpus {
  TemporaryFolder folder;
  SourceConfig source{.files = (folder / "text.{lang}").string(), .languages = {"en", "de"}};
  VocabularyConfig config;

  explicit VocabularyCorpus(int64_t lines = 300) {
    config.size = 500;
    for (const auto& language : source.languages) {
      write_lines(folder / ("text." + language), sentences(language, lines));
    }
  }
  Vocabulary train() const {
    train_vocabulary({&source, 1}, config, folder / "out.model");
    return Vocabulary::load(folder / "out.model");
  }
};

TEST(Vocabulary, HasTheSizeAskedForAndTagsInOrder) {
  const Vocabulary& vocabulary = small_vocabulary();
  EXPECT_EQ(vocabulary.size(), 600);
  EXPECT_EQ(vocabulary.languages(), (std::vector<std::string>{"de", "en", "fr"}));
  EXPECT_EQ(vocabulary.tag("de"), 4);
  EXPECT_EQ(vocabulary.tag("fr"), 6);
  EXPECT_EQ(vocabulary.tag(vocabulary.language("en")), 5);
  EXPECT_TRUE(vocabulary.is_tag(6));
  EXPECT_FALSE(vocabulary.is_tag(7));
  EXPECT_FALSE(vocabulary.is_tag(kEos));
}

TEST(Vocabulary, TextComesBack) {
  const Vocabulary& vocabulary = small_vocabulary();
  auto lines = sentences("en", 20);
  lines.insert(lines.end(), {"x", "Grüße, 世界! 😀", "a\u0301 is composed"});
  for (const auto& line : lines) {
    const auto ids = vocabulary.encode(line);
    EXPECT_FALSE(ids.empty());
    for (const int32_t id : ids) EXPECT_TRUE(id > kUnk && id < vocabulary.size()) << line;
    if (line[0] != 'a' || line[1] == 'b') continue;
    EXPECT_FALSE(vocabulary.decode(ids).empty());
  }
  EXPECT_EQ(vocabulary.decode(vocabulary.encode(lines[0])), lines[0]);
  EXPECT_EQ(vocabulary.decode(vocabulary.encode("Grüße, 世界! 😀")), "Grüße, 世界! 😀");
  EXPECT_EQ(vocabulary.decode(vocabulary.encode("a\u0301")), "\u00e1");  // nmt_nfkc
}

TEST(Vocabulary, NothingHasNoPieces) {
  EXPECT_TRUE(small_vocabulary().encode("").empty());
  EXPECT_TRUE(small_vocabulary().encode("  \t ").empty());
  EXPECT_EQ(small_vocabulary().decode({}), "");
}

TEST(Vocabulary, TextCannotInjectATagOrASpecialToken) {
  const Vocabulary& vocabulary = small_vocabulary();
  // The last one becomes __de__ only by normalisation.
  for (const char* text : {"__de__", "say __fr__ now", "__de____fr__", "<s> </s> <pad> <unk> <0x41>",
                           "\uff3f\uff3f\uff44\uff45\uff3f\uff3f"}) {
    const auto ids = vocabulary.encode(text);
    EXPECT_FALSE(ids.empty());
    for (const int32_t id : ids) EXPECT_TRUE(id > kUnk && !vocabulary.is_tag(id)) << text;
  }
  EXPECT_EQ(vocabulary.decode(vocabulary.encode("say __fr__ now")), "say __fr__ now");
}

TEST(Vocabulary, DecodingLeavesOutSpecialTokensAndRefusesForeignIds) {
  const Vocabulary& vocabulary = small_vocabulary();
  std::vector<int32_t> ids{kEos, vocabulary.tag("de")};
  for (const int32_t id : vocabulary.encode("abc def")) ids.push_back(id);
  ids.insert(ids.end(), {kEos, kPad, kBos});
  EXPECT_EQ(vocabulary.decode(ids), "abc def");
  for (const int32_t wrong : {-1, 600, INT32_MAX, INT32_MIN}) {
    EXPECT_THROW((void)vocabulary.decode(std::vector<int32_t>{wrong}), UserError) << wrong;
  }
}

TEST(Vocabulary, UnknownLanguagesAreNamedWithTheNearest) {
  EXPECT_NE(message_of<UserError>([] { (void)small_vocabulary().tag("xx"); }).find("de, en, fr"),
            std::string::npos);
  EXPECT_NE(
      message_of<UserError>([] { (void)small_vocabulary().tag("deu_Latn"); }).find("did you mean 'de'?"),
      std::string::npos);
  EXPECT_THROW((void)small_vocabulary().language(""), UserError);
  EXPECT_THROW((void)small_vocabulary().tag("__de__"), UserError);
}

TEST(Vocabulary, AddedTagsFollowThePieces) {
  const VocabularyCorpus corpus;
  const Vocabulary plain = corpus.train();
  const Vocabulary more =
      Vocabulary::load(corpus.folder / "out.model", {.tags = {{"eng_Latn"}, {"fra_Latn"}}});
  EXPECT_EQ(more.size(), plain.size() + 2);
  EXPECT_EQ(more.tag("fra_Latn"), plain.size() + 1);
  EXPECT_EQ(more.decode(std::vector<int32_t>{more.tag("eng_Latn")}), "");
  EXPECT_NE(more.hash(), plain.hash());
  EXPECT_THROW(Vocabulary::load(corpus.folder / "out.model", {.tags = {{"x"}, {"x"}}}), UserError);
}

TEST(Vocabulary, SymbolsArePiecesOrFollowThem) {
  const Vocabulary& plain = small_vocabulary();
  EXPECT_FALSE(plain.symbol(kMask));
  const std::vector<std::string> names = {"de", "hsb", std::string(kMask), task_tag("denoise")};
  const Vocabulary more = plain.with_tags(names);
  EXPECT_EQ(more.size(), plain.size() + 3);
  EXPECT_EQ(more.languages(), (std::vector<std::string>{"de", "en", "fr", "hsb"}));
  EXPECT_EQ(more.symbol("<mask>"), plain.size() + 1);
  EXPECT_EQ(more.symbol("<task:denoise>"), plain.size() + 2);
  EXPECT_TRUE(more.is_tag(*more.symbol(kMask)));
  EXPECT_EQ(more.name_of(*more.symbol(kMask)), kMask);
  EXPECT_EQ(more.name_of(more.tag("hsb")), "__hsb__");
  EXPECT_EQ(more.with_tags(names).hash(), more.hash());
  EXPECT_NE(more.hash(), plain.hash());
  EXPECT_THROW((void)more.language("<mask>"), UserError);
  for (int32_t id = 0; id < plain.size(); ++id) {
    EXPECT_EQ(more.name_of(id), plain.name_of(id));
    EXPECT_NE(plain.name_of(id), "");
  }
  EXPECT_EQ(plain.name_of(plain.tag("de")), "__de__");
  EXPECT_EQ(plain.name_of(kPad), "<pad>");
  const auto pieces = plain.encode("abc def ghi");
  EXPECT_EQ(std::count_if(pieces.begin(), pieces.end(), [&](int32_t id) { return plain.starts_word(id); }),
            3);

  const VocabularyCorpus corpus;
  train_vocabulary({&corpus.source, 1}, corpus.config, corpus.folder / "out.model",
                   {.symbols = {std::string(kMask), task_tag("a")}});
  const Vocabulary trained = Vocabulary::load(corpus.folder / "out.model");
  EXPECT_EQ(trained.size(), corpus.config.size);
  EXPECT_TRUE(trained.symbol(kMask) && trained.symbol("<task:a>"));
  EXPECT_EQ(trained.name_of(*trained.symbol(kMask)), kMask);
  for (const char* text : {"<mask>", "a <mask> b", "<task:a>"}) {
    for (const int32_t id : trained.encode(text)) EXPECT_FALSE(trained.is_tag(id)) << text;
    EXPECT_EQ(trained.decode(trained.encode(text)), text);
  }
  EXPECT_EQ(trained.decode(std::vector{*trained.symbol(kMask)}), "");
}

TEST(Vocabulary, IdsOfTagsMayHaveGapsButNotGoBack) {
  const VocabularyCorpus corpus;
  const Vocabulary plain = corpus.train();
  const fs::path path = corpus.folder / "out.model";
  const auto end = static_cast<int32_t>(plain.size());
  const Vocabulary next = Vocabulary::load(path, {.tags = {{"xx", end}, {"yy", end + 1}}});
  EXPECT_EQ(next.hash(), Vocabulary::load(path, {.tags = {{"xx"}, {"yy"}}}).hash());
  const Vocabulary gap = Vocabulary::load(path, {.tags = {{"xx", end + 2}, {"yy"}}});
  EXPECT_EQ(gap.tag("yy"), end + 3);
  EXPECT_EQ(gap.size(), end + 4);
  EXPECT_NE(gap.hash(), next.hash());
  EXPECT_EQ(gap.layout().tags[1].id, end + 3);
  for (const int32_t wrong : {-2, 0, end - 1, 1 << 30})
    EXPECT_THROW(Vocabulary::load(path, {.tags = {{"xx", wrong}}}), UserError) << wrong;
  EXPECT_THROW(Vocabulary::load(path, {.tags = {{"xx", end}, {"yy", end}}}), UserError);
}

TEST(Vocabulary, PiecesMayHaveIdsOfTheirOwn) {
  const VocabularyCorpus corpus;
  const Vocabulary plain = corpus.train();
  const fs::path path = corpus.folder / "out.model";
  const std::string model = read_file(path);
  const auto all = parse_sentencepiece_model(model).pieces;
  VocabularyLayout layout = {.pieces = {"<s>", "<pad>", "</s>", "<unk>", "not of SentencePiece"},
                             .tags = {{"xx"}}};
  for (size_t i = all.size() - 1; i > 3; --i) layout.pieces.emplace_back(all[i].text);  // all but the first
  const Vocabulary other = Vocabulary::load(path, layout);
  EXPECT_EQ(other.size(), plain.size() + 1);
  EXPECT_EQ(other.tag("xx"), other.size() - 1);
  const auto last = static_cast<int32_t>(all.size());
  for (const std::string& line :
       {sentences("en", 1)[0], std::string("Grüße, 世界!"), std::string("say __en__ now")}) {
    const std::vector<int32_t> ids = plain.encode(line);
    std::vector<int32_t> expected;
    for (const int32_t id : ids) expected.push_back(id < 5 ? kUnk : last - id + 5);
    EXPECT_EQ(other.encode(line), expected);
    EXPECT_EQ(other.decode(expected), plain.decode(ids));
  }
  EXPECT_EQ(other.decode(std::vector<int32_t>{4}), "not of SentencePiece");
  EXPECT_NE(other.hash(), plain.hash());
  layout.pieces.back() = layout.pieces[6];
  EXPECT_THROW(Vocabulary::load(path, layout), UserError);
  EXPECT_THROW(Vocabulary::load(path, {.pieces = {"<pad>", "<s>", "</s>", "<unk>"}}), UserError);
  EXPECT_THROW(Vocabulary::load(path, {.pieces = {"<s>"}}), UserError);
}

TEST(VocabularyTraining, IsAFunctionOfTextConfigAndSeed) {
  const VocabularyCorpus corpus;
  const uint64_t hash = corpus.train().hash();
  EXPECT_EQ(corpus.train().hash(), hash);
  VocabularyCorpus sampled;
  sampled.config.sentences = 200;
  const uint64_t some = sampled.train().hash();
  EXPECT_NE(some, hash);
  train_vocabulary({&sampled.source, 1}, sampled.config, sampled.folder / "b",
                   {.seed = 2, .more_languages = {}, .progress = {}});
  EXPECT_NE(Vocabulary::load(sampled.folder / "b").hash(), some);
}

TEST(VocabularyTraining, TellsWhichSizeWouldDo) {
  VocabularyCorpus corpus(20);
  corpus.config.size = 20000;
  const std::string message = message_of<UserError>([&] { corpus.train(); });
  const size_t at = message.find("set it to ");
  ASSERT_NE(at, std::string::npos) << message;
  corpus.config.size = std::stoll(message.substr(at + 10));
  EXPECT_EQ(corpus.train().size(), corpus.config.size) << message;

  corpus.config.size = 270;
  const std::string small = message_of<UserError>([&] { corpus.train(); });
  const size_t there = small.find("set it to ");
  ASSERT_NE(there, std::string::npos) << small;
  corpus.config.size = std::stoll(small.substr(there + 10));
  EXPECT_EQ(corpus.train().size(), corpus.config.size) << small;
}

TEST(VocabularyTraining, ChoosesASizeThatSuitsTheText) {
  EXPECT_EQ(suited_size(10), 1000);
  EXPECT_EQ(suited_size(116'000), 8174);
  EXPECT_EQ(suited_size(1'000'000'000), 32000);
  VocabularyCorpus enough, few(20);
  enough.config.size = few.config.size = 0;
  const int64_t lines = static_cast<int64_t>(sentences("en", 400).size()) * 2;
  EXPECT_EQ(enough.train().size(), suited_size(lines));
  const int64_t fitted = few.train().size();  // fewer rows than 1,000: as many as the text gives
  EXPECT_LT(fitted, 1000);
  few.config.size = fitted + 1;
  EXPECT_NE(message_of<UserError>([&] { few.train(); }).find(fmt::format("set it to {} or less", fitted)),
            std::string::npos);
  few.config.size = 261;
  EXPECT_NE(message_of<UserError>([&] { few.train(); }).find("below 262"), std::string::npos);
}

TEST(VocabularyTraining, RefusesSourcesWithoutText) {
  for (const std::string text : {"", "\n\n", "  \n", "\x01\x02\n", "--\n"}) {
    VocabularyCorpus corpus;
    write_text(corpus.folder / "text.en", text);
    write_text(corpus.folder / "text.de", text);
    EXPECT_NE(message_of<UserError>([&] { corpus.train(); }).find("no text"), std::string::npos) << text;
    EXPECT_FALSE(std::filesystem::exists(corpus.folder / "out.model"));
  }
}

TEST(VocabularyTraining, TinyAndOddTextEitherTrainsOrIsRefused) {
  for (const std::string text : {"a\n", "aaaa aaaa aaaa\n", "\u2585 a\n", "a\u2585b\nc\n", "\u2581\u2581a\n",
                                 "ab\tcd\n", "\x7f\x01z\n", "__de__ __en__\n", "世\n"}) {
    VocabularyCorpus corpus;
    corpus.config.size = 300;
    write_text(corpus.folder / "text.en", text);
    write_text(corpus.folder / "text.de", text);
    try {
      corpus.train();
    } catch (const Error&) {
    }
  }
}

TEST(VocabularyFile, DamageIsOneErrorOrHarmless) {
  const VocabularyCorpus corpus;
  corpus.train();
  const std::string good = read_file(corpus.folder / "out.model");
  const auto path = corpus.folder / "bad.model";
  const RandomKey key(3);
  int refused = 0;
  for (uint64_t i = 0; i < 400; ++i) {
    std::string bad = good;
    if (i < 100) {
      bad.resize(key.below(i, good.size()));
    } else if (i < 250) {  // among the pieces and options, which lie apart from the large table
      bad[key.below(i, 20000) % bad.size()] ^= static_cast<char>(1 << key.below(i + 1000, 8));
    } else {
      bad[key.below(i, good.size())] ^= static_cast<char>(1 << key.below(i + 1000, 8));
    }
    write_text(path, bad);
    try {
      const Vocabulary vocabulary = Vocabulary::load(path);
      for (const char* text : {"hello", "Grüße ﬁ ½ \u0301", "__de__", "世界"})
        (void)vocabulary.decode(vocabulary.encode(text));
    } catch (const Error& error) {
      ++refused;
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    }
  }
  EXPECT_GT(refused, 100);
}

TEST(VocabularyFile, WhatIsNoModelIsRefused) {
  const TemporaryFolder folder;
  write_text(folder / "text", "This is no model.\n");
  write_text(folder / "empty", "");
  for (const auto& path : {folder / "text", folder / "empty", folder / "missing", folder.path()}) {
    EXPECT_NE(message_of<UserError>([&] { Vocabulary::load(path); }).find(path.string()), std::string::npos);
  }
}

/// T5's with `extra_ids`, written under `folder`.
Vocabulary t5_vocabulary(const TemporaryFolder& folder, int32_t extra_ids,
                         std::string_view types = "\3\3\2") {
  write_file_atomically(folder / "spiece.model", t5_model(types));
  return Vocabulary::load(folder / "spiece.model", {.extra_ids = extra_ids});
}

TEST(VocabularyOfT5, KeepsSentencePiecesIdsPlusOneAndHasNoLanguages) {
  const TemporaryFolder folder;
  const Vocabulary vocabulary = t5_vocabulary(folder, 3);
  EXPECT_TRUE(vocabulary.is_t5());
  EXPECT_FALSE(small_vocabulary().is_t5());
  EXPECT_EQ(vocabulary.size(), kT5Pieces + 1 + 3);
  EXPECT_EQ(vocabulary.encode("ab the"), (std::vector<int32_t>{4, 5, 6, 31}));
  EXPECT_EQ(vocabulary.encode("é"), (std::vector<int32_t>{4, kUnk}));
  EXPECT_EQ(vocabulary.decode(std::vector<int32_t>{kPad, 4, 5, 6, 31, kEos}), "ab the");
  EXPECT_EQ(vocabulary.decode(std::vector<int32_t>{kUnk}), " ⁇ ");
  EXPECT_TRUE(vocabulary.languages().empty());
  EXPECT_EQ(vocabulary.tag(""), kNoTag);
  EXPECT_THROW((void)vocabulary.tag("de"), UserError);
  EXPECT_NE(vocabulary.hash(), t5_vocabulary(folder, 4).hash());
}

TEST(VocabularyOfT5, FindsExtraIdsInTextAndSpellsThem) {
  const TemporaryFolder folder;
  const Vocabulary vocabulary = t5_vocabulary(folder, 12);
  const int32_t last = kT5Pieces + 12;
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(vocabulary.encode("the <extra_id_0> in<extra_id_11>"), (Ids{31, last, 33, last - 11}));
  EXPECT_EQ(vocabulary.decode(Ids{31, last, 33, last - 11}), "the <extra_id_0> in <extra_id_11>");
  EXPECT_EQ(vocabulary.encode("<extra_id_2>"), Ids{last - 2});
  EXPECT_EQ(vocabulary.decode(Ids{last, last - 1}), "<extra_id_0> <extra_id_1>");
  for (const char* text : {"<extra_id_12>", "<extra_id_01>", "<extra_id_", "<extra_id_>", "<extra_id_1 >",
                           "<extra_id_-1>", "<extra_id_99999999999999999999>"}) {
    for (const int32_t id : vocabulary.encode(text)) EXPECT_LE(id, kT5Pieces) << text;
  }
  EXPECT_TRUE(vocabulary.encode("").empty());
  EXPECT_GT(t5_vocabulary(folder, 0).encode("<extra_id_0>").size(), 1U) << "text, where there are none";
}

TEST(VocabularyOfT5, ChecksTheKindOfItsSpecialTokens) {
  const TemporaryFolder folder;
  EXPECT_THROW(t5_vocabulary(folder, 0, "\1\3\2"), UserError);
  EXPECT_THROW(t5_vocabulary(folder, 0, "\3\1\2"), UserError);
  EXPECT_THROW(t5_vocabulary(folder, 0, "\3\3\3"), UserError);
  EXPECT_THROW(t5_vocabulary(folder, -1), UserError);
  EXPECT_THROW(t5_vocabulary(folder, 1 << 20), UserError);
  const VocabularyCorpus corpus;
  corpus.train();
  EXPECT_THROW(Vocabulary::load(corpus.folder / "out.model", {.extra_ids = 1}), UserError) << "not T5's";
}

}  // namespace
}  // namespace chorus
