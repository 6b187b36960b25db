#include "data/config.h"

#include <cmath>

#include <gtest/gtest.h>

#include "config/options.h"
#include "data/corpus.h"

namespace chorus {
namespace {

using Pairs = std::vector<std::pair<size_t, size_t>>;

Pairs expand(std::vector<std::string> languages, std::vector<std::string> directions) {
  SourceConfig source;
  source.languages = std::move(languages);
  source.directions = std::move(directions);
  return expand_directions(source, "data.train[0]");
}

TEST(Directions, PatternsExpandInOrderAndOnce) {
  EXPECT_EQ(expand({"en", "de"}, {}), (Pairs{{0, 1}, {1, 0}}));
  EXPECT_EQ(expand({"en", "de", "fr"}, {"en-*"}), (Pairs{{0, 1}, {0, 2}}));
  EXPECT_EQ(expand({"en", "de", "fr"}, {"*-en", "de-en", "en-de"}), (Pairs{{1, 0}, {2, 0}, {0, 1}}));
  EXPECT_EQ(expand({"en", "de", "fr"}, {"*-*"}).size(), 6U);
}

TEST(Directions, LanguageNamesMayHoldHyphens) {
  EXPECT_EQ(expand({"en", "pt-BR"}, {"en-pt-BR", "pt-BR-en"}), (Pairs{{0, 1}, {1, 0}}));
  EXPECT_NE(message_of<UserError>([] {
              expand({"a", "a-b", "b-c", "c"}, {"a-b-c"});
            }).find("can be read as"),
            std::string::npos);
}

TEST(Directions, WrongPatternsAreRefused) {
  for (const char* wrong : {"", "en", "-", "en-", "en-xx", "en_de", "de-de", "*"}) {
    const std::string message = message_of<UserError>([&] { expand({"en", "de"}, {wrong}); });
    EXPECT_EQ(message.rfind("data.train[0]: direction", 0), 0U) << wrong << ": " << message;
  }
}

TEST(Sources, WrongOnesAreRefused) {
  const SourceConfig good{.files = "a.{lang}", .languages = {"en", "de"}};
  EXPECT_NO_THROW(check_source(good, "s"));
  EXPECT_NO_THROW(check_source({.files = "a.{lang}"}, "s"));
  const auto refused = [&](auto change) {
    SourceConfig source = good;
    change(source);
    return message_of<UserError>([&] { check_source(source, "s"); }).starts_with("s: ");
  };
  EXPECT_TRUE(refused([](auto& s) { s.files.clear(); }));
  EXPECT_TRUE(refused([](auto& s) { s.tsv = "b.tsv"; }));
  EXPECT_TRUE(refused([](auto& s) { s.files = "a.en"; }));
  EXPECT_TRUE(refused([](auto& s) { s = {.tsv = "b.tsv"}; }));
  EXPECT_TRUE(refused([](auto& s) { s.languages = {"en"}; }));
  EXPECT_TRUE(refused([](auto& s) { s.languages = {"en", "en"}; }));
  EXPECT_TRUE(refused([](auto& s) { s.languages = {"en", ""}; }));
  EXPECT_TRUE(refused([](auto& s) { s.languages = {"en", "../x"}; }));
  EXPECT_TRUE(refused([](auto& s) { s.languages = {"en", "_de"}; }));
  EXPECT_TRUE(refused([](auto& s) { s.weight = -1; }));
  EXPECT_TRUE(refused([](auto& s) { s.weight = NAN; }));
}

TEST(Denoising, WrongTasksAreRefused) {
  DataConfig good{.train = {{.files = "a.{lang}", .languages = {"en", "de"}}},
                  .denoise = {{}, {.name = "mono", .files = "mono.{lang}", .languages = {"fr", "cs"}}}};
  EXPECT_NO_THROW(check_denoising(good));
  good.denoise[0].languages = {"de"};
  EXPECT_NO_THROW(check_denoising(good));
  good.denoise[1].languages = {};
  EXPECT_NO_THROW(check_denoising(good)) << "those of its files";
  const auto refused = [&](auto change) {
    DataConfig data = good;
    change(data.denoise);
    return message_of<UserError>([&] { check_denoising(data); }).starts_with("data.denoise[");
  };
  EXPECT_TRUE(refused([](auto& tasks) { tasks[0].name = "mono"; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[0].name = "translation"; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[0].name = "a>b"; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[0].name = ""; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[0].languages = {"fr"}; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[0].weight = INFINITY; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[1].languages = {"fr", "fr"}; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[1].files = "mono"; }));
  EXPECT_TRUE(refused([](auto& tasks) { tasks[1].files = "{pair}.{lang}"; }));
}

TEST(AddedLanguages, MayBeLikeAnother) {
  const auto added = added_languages({.add = {"hsb=cs", "dsb"}});
  ASSERT_EQ(added.size(), 2U);
  EXPECT_EQ(added[0].name, "hsb");
  EXPECT_EQ(added[0].like, "cs");
  EXPECT_EQ(added[1].like, "");
  for (const char* wrong : {"", "=cs", "hsb=", "a=b=c", "<mask>"})
    EXPECT_THROW(added_languages({.add = {wrong}}), UserError) << wrong;
}

TEST(Sources, FilesAreNamedByLanguage) {
  const auto text = text_source({.files = "{lang}/x.{lang}.gz", .languages = {"en", "pt_BR"}});
  ASSERT_EQ(text.files.size(), 2U);
  EXPECT_EQ(text.files[1], "pt_BR/x.pt_BR.gz");
  EXPECT_EQ(text_source({.tsv = "x.tsv", .languages = {"en", "de"}}).files.size(), 1U);
}

TEST(Sources, AreReadFromARunFile) {
  const TemporaryFolder folder;
  write_text(
      folder / "run.toml",
      "[data]\ntemperature = 2.0\n[[data.train]]\nname = 'a'\nfiles = 'x.{lang}'\nlanguages = ['en', 'de']\n"
      "[[data.train]]\ntsv = 'y'\nweight = 3.0\n[vocabulary]\nsize = 8000\n");
  DataConfig data;
  VocabularyConfig vocabulary;
  Schema schema;
  describe(schema, data);
  describe(schema, vocabulary);
  schema.read_file(folder / "run.toml");
  EXPECT_EQ(data.temperature, 2);
  ASSERT_EQ(data.train.size(), 2U);
  EXPECT_EQ(data.train[1].weight, 3);
  EXPECT_EQ(vocabulary.size, 8000);
  EXPECT_EQ(source_label(data.train[0], "train", 0), "data.train[0] 'a'");
  EXPECT_EQ(source_label(data.train[1], "train", 1), "data.train[1]");
  EXPECT_EQ(source_label(data.train[0], "", 0), "text 'a'");
}

}  // namespace
}  // namespace chorus
