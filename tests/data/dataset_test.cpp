#include "data/dataset.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/corpus.h"

namespace chorus {
namespace {

TEST(RowSet, SelectFindsTheMembers) {
  for (const uint64_t every : {1, 2, 3, 64, 511, 700}) {
    RowSet rows;
    std::vector<int64_t> members;
    for (int64_t row = 0; row < 3000; ++row) {
      const bool member = RandomKey(every).below(row, every) == 0;
      rows.append(member);
      if (member) members.push_back(row);
    }
    ASSERT_EQ(rows.size(), static_cast<int64_t>(members.size()));
    for (size_t i = 0; i < members.size(); ++i) EXPECT_EQ(rows.select(static_cast<int64_t>(i)), members[i]);
    EXPECT_THROW((void)rows.select(rows.size()), Error);
    EXPECT_THROW((void)rows.select(-1), Error);
  }
  EXPECT_THROW((void)RowSet().select(0), Error);
}

struct Corpus {
  TemporaryFolder folder;
  std::vector<SourceConfig> sources;
  DataSet::Options options;

  Corpus() { options.store = folder / "store"; }
  void add(const std::string& name, const std::vector<std::pair<std::string, std::vector<std::string>>>& text,
           std::vector<std::string> directions = {}) {
    SourceConfig source{.name = name, .files = (folder / (name + ".{lang}")).string(), .languages = {}};
    for (const auto& [language, lines] : text) {
      source.languages.push_back(language);
      write_lines(folder / (name + "." + language), lines);
    }
    source.directions = std::move(directions);
    sources.push_back(source);
  }
  DataSet open() const { return {sources, small_vocabulary(), options}; }
};

TEST(DataSet, PairsRowsThatHaveBothSides) {
  Corpus corpus;
  corpus.add("a", {{"en", {"one", "", "three", "four"}},
                   {"de", {"eins", "zwei", "", "vier"}},
                   {"fr", {"un", "deux", "trois", ""}}});
  const DataSet data = corpus.open();
  ASSERT_EQ(data.directions().size(), 6U);
  EXPECT_EQ(data.directions()[0].name, "en-de");
  EXPECT_EQ(data.languages()[data.directions()[0].source], "en");
  EXPECT_EQ(data.examples(0), 2);
  const SentencePair pair = data.read(0, 1, RandomKey());
  EXPECT_EQ(pair.source, small_vocabulary().encode("four"));
  EXPECT_EQ(pair.target, small_vocabulary().encode("vier"));
  EXPECT_EQ(pair.source_tag, small_vocabulary().tag("en"));
  EXPECT_EQ(pair.target_tag, small_vocabulary().tag("de"));
  EXPECT_EQ(data.lengths(0, 1, RandomKey()).source, static_cast<int64_t>(pair.source.size()) + 2);
  // The other way round: the same rows, sides and counts exchanged.
  ASSERT_EQ(data.directions()[2].name, "de-en");
  EXPECT_EQ(data.read(2, 1, RandomKey()).source, pair.target);
  const auto& report = data.report().parts;
  EXPECT_EQ(report[0].source_tokens, report[2].target_tokens);
  EXPECT_EQ(report[0].empty, 2);
  EXPECT_EQ(report[0].rows, 4);
}

TEST(DataSet, LeavesOutLongPairsAndReportsThem) {
  Corpus corpus;
  corpus.add("a",
             {{"en", {"a", "a b c d e f g h i j k l", "\xff", "a\nx"}}, {"de", {"b", "b", "b", "b", "b"}}});
  corpus.options.max_length = 8;
  const DataSet data = corpus.open();
  const PartReport& report = data.report().parts[0];
  EXPECT_EQ(report.rows, 5);
  EXPECT_EQ(report.too_long, 1);
  EXPECT_EQ(report.invalid_utf8, 1);
  EXPECT_EQ(report.examples, 3);
  EXPECT_LE(data.parts()[0].longest, 8);
  EXPECT_EQ(data.report().lines().size(), 3U);
  EXPECT_NE(data.report().lines()[1].find("1 too long"), std::string::npos);
  EXPECT_EQ(nlohmann::json::parse(data.report().json())["parts"][0]["too_long"], 1);
}

TEST(DataSet, SourcesShareADirection) {
  Corpus corpus;
  corpus.add("a", {{"en", sentences("en", 30)}, {"de", sentences("de", 30)}}, {"en-de"});
  corpus.add("b", {{"de", sentences("de", 20)}, {"en", sentences("en", 20)}}, {"en-de", "de-en"});
  const DataSet data = corpus.open();
  EXPECT_EQ(data.directions().size(), 2U);
  EXPECT_EQ(data.parts().size(), 3U);
  EXPECT_EQ(data.examples(0), 50);
  EXPECT_EQ(data.read(1, 3, RandomKey()).source, small_vocabulary().encode(sentences("en", 20)[3]));
}

TEST(DataSet, ReadsTsv) {
  Corpus corpus;
  write_text(corpus.folder / "x.tsv", "hello\tbonjour\r\nbad\r\nbye\tau revoir\r\n");
  corpus.sources.push_back(
      {.tsv = (corpus.folder / "x.tsv").string(), .languages = {"en", "fr"}, .directions = {"fr-en"}});
  const DataSet data = corpus.open();
  EXPECT_EQ(data.examples(0), 2);
  EXPECT_EQ(data.report().parts[0].misshapen, 1);
  EXPECT_EQ(data.read(0, 1, RandomKey()).target, small_vocabulary().encode("bye"));
}

TEST(DataSet, ADirectionWithoutPairsIsRefusedByName) {
  Corpus corpus;
  corpus.add("good", {{"en", {"a"}}, {"de", {"b"}}});
  corpus.add("holes", {{"en", {"a", ""}}, {"de", {"", "b"}}});
  const std::string message = message_of<UserError>([&] { corpus.open(); });
  EXPECT_EQ(message.find("data.train[1] 'holes': no usable sentence pair for en-de in 2 rows (2 empty)"), 0U)
      << message;
  corpus.sources.clear();
  corpus.add("nothing", {{"en", {}}, {"de", {}}});
  EXPECT_NE(message_of<UserError>([&] { corpus.open(); }).find("'nothing'"), std::string::npos);
}

TEST(DataSet, UnknownLanguagesAreRefusedByName) {
  Corpus corpus;
  corpus.add("x", {{"en", {"a"}}, {"xx", {"b"}}});
  EXPECT_EQ(message_of<UserError>([&] { corpus.open(); }).find("data.train[0] 'x': unknown language 'xx'"),
            0U);
}

Vocabulary with_symbols(const std::vector<std::string>& tasks) {
  std::vector<std::string> names = {std::string(kMask)};
  for (const std::string& task : tasks) names.push_back(task_tag(task));
  return small_vocabulary().with_tags(names);
}

TEST(DataSet, TasksDenoiseEachSideOrTextOfTheirOwn) {
  Corpus corpus;
  corpus.add("a", {{"en", {"one two", "", "three"}}, {"de", {"eins", "zwei", "drei"}}}, {"en-de"});
  write_lines(corpus.folder / "mono.fr", {"un deux trois quatre cinq", ""});
  corpus.options.denoise = {
      {.noise = {.mask = 1, .drop = 0}},
      {.name = "mono", .files = (corpus.folder / "mono.{lang}").string(), .languages = {"fr"}, .weight = 3}};
  const Vocabulary vocabulary = with_symbols({"denoise", "mono"});
  const DataSet data(corpus.sources, vocabulary, corpus.options);
  EXPECT_EQ(data.tasks(), (std::vector<std::string>{"translation", "denoise", "mono"}));
  std::vector<std::string> names;
  for (const Direction& direction : data.directions()) names.push_back(direction.name);
  EXPECT_EQ(names, (std::vector<std::string>{"en-de", "denoise:en", "denoise:de", "mono:fr"}));
  std::vector<int64_t> examples;
  for (const auto& part : data.parts()) examples.push_back(part.examples);
  EXPECT_EQ(examples, (std::vector<int64_t>{2, 2, 3, 1}));
  EXPECT_EQ(data.parts()[3].name, "mono");
  EXPECT_EQ(data.parts()[3].weight, 3);

  const SentencePair pair = data.read(2, 1, RandomKey(1));  // "zwei", whose English side is empty
  EXPECT_EQ(pair.target, vocabulary.encode("zwei"));
  EXPECT_EQ(pair.source,
            (std::vector<int32_t>{*vocabulary.symbol("<task:denoise>"), *vocabulary.symbol(kMask)}));
  EXPECT_EQ(pair.source_tag, vocabulary.tag("de"));
  EXPECT_EQ(pair.target_tag, vocabulary.tag("de"));
  EXPECT_EQ(data.lengths(2, 1, RandomKey()).source, data.lengths(2, 1, RandomKey()).target + 1);
  EXPECT_EQ(data.read(3, 0, RandomKey(1)).source, data.read(3, 0, RandomKey(1)).source);
  EXPECT_NE(data.read(3, 0, RandomKey(1)).source, data.read(3, 0, RandomKey(2)).source);

  const uint64_t hash = data.hash();
  corpus.options.denoise[0].noise.drop = 0.5;
  EXPECT_NE(DataSet(corpus.sources, vocabulary, corpus.options).hash(), hash);
  EXPECT_NE(message_of<UserError>([&] { (void)corpus.open(); }).find("no <mask>"), std::string::npos);
}

TEST(DataSet, HashTellsDataApart) {
  Corpus corpus;
  corpus.add("a", {{"en", {"a", "two three four five six"}}, {"de", {"b", "zwei"}}});
  const uint64_t hash = corpus.open().hash();
  EXPECT_EQ(corpus.open().hash(), hash);
  corpus.options.max_length = 10;
  EXPECT_NE(corpus.open().hash(), hash);
  corpus.options.max_length = 256;
  corpus.sources[0].weight = 2;
  EXPECT_NE(corpus.open().hash(), hash);
}

}  // namespace
}  // namespace chorus
