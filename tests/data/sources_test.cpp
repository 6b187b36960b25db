#include "data/sources.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/text.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

using Names = std::vector<std::string>;

struct Folder : TextFolder {
  explicit Folder(const Names& names) {
    for (const std::string& name : names) static_cast<void>(file(name, "a\n"));
  }
  [[nodiscard]] SourceConfig source(const std::string& files, const Names& languages = {},
                                    const Names& directions = {}) const {
    return {.files = (path() / files).string(), .languages = languages, .directions = directions};
  }
  /// "train.en-de.{lang} en,de: en-de" for each, below the folder.
  [[nodiscard]] Names found(const SourceConfig& source, const FindOptions& options = {}) const {
    Names lines;
    for (const SourceConfig& one : find_sources(source, "where", options)) {
      lines.push_back(fmt::format("{} {}: {}", one.files.substr(path().string().size() + 1),
                                  join(one.languages, ","), join(one.directions, ",")));
    }
    return lines;
  }
  [[nodiscard]] std::string refused(const SourceConfig& source, const FindOptions& options = {}) const {
    return message_of<UserError>([&] { find_sources(source, "where", options); });
  }
};

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(FoundSources, HaveTheLanguagesOfTheirFiles) {
  const Folder folder({"t.en", "t.de", "t.pt_BR", "t.en.gz", "t.x y", "tt.fr", "t.", "sub/en/t.en.gz",
                       "sub/de/t.de.gz", "sub/fr/t.cs.gz", "a+b/(en).t", "a+b/(de).t", "a+b/den).t"});
  std::filesystem::create_directory(folder / "t.cs");
  EXPECT_EQ(folder.found(folder.source("t.{lang}")), (Names{"t.{lang} de,en,pt_BR: "}));
  EXPECT_EQ(folder.found(folder.source("sub/{lang}/t.{lang}.gz")), (Names{"sub/{lang}/t.{lang}.gz de,en: "}));
  EXPECT_EQ(folder.found(folder.source("a+b/({lang}).t")), (Names{"a+b/({lang}).t de,en: "}));
  const Names among = {"en", "de", "fr"};
  EXPECT_EQ(folder.found(folder.source("t.{lang}"), {.among = among}), (Names{"t.{lang} de,en: "}));
  EXPECT_EQ(folder.found(folder.source("t.{lang}", {"xx", "yy"})), (Names{"t.{lang} xx,yy: "})) << "as named";
  EXPECT_EQ(folder.found(folder.source("tt.{lang}"), {.least = 1}), (Names{"tt.{lang} fr: "}));
  EXPECT_TRUE(has(folder.refused(folder.source("tt.{lang}")),
                  "must match the files of 2 languages or more, and matches fr"));
  EXPECT_TRUE(has(folder.refused(folder.source("none.{lang}")), "and matches none"));
  EXPECT_TRUE(has(folder.refused(folder.source("t.en")), "lacks {lang}"));
  EXPECT_EQ(find_languages({.files = (folder / "t.{lang}").string()}, "where"), (Names{"de", "en", "pt_BR"}));
}

TEST(FoundSources, AreOneAPair) {
  const Folder folder({"t.en-de.en", "t.en-de.de", "t.fr_en.en", "t.fr_en.fr", "t.pt-BR-en.en",
                       "t.pt-BR-en.pt-BR", "t.en-de.log", "t.notes.en"});
  EXPECT_EQ(folder.found(folder.source("t.{pair}.{lang}")),
            (Names{"t.en-de.{lang} en,de: en-de,de-en", "t.fr_en.{lang} fr,en: fr-en,en-fr",
                   "t.pt-BR-en.{lang} pt-BR,en: pt-BR-en,en-pt-BR"}));
  EXPECT_EQ(folder.found(folder.source("t.{pair}.{lang}", {}, {"en-*", "de-en"})),
            (Names{"t.en-de.{lang} en,de: en-de,de-en", "t.fr_en.{lang} fr,en: en-fr",
                   "t.pt-BR-en.{lang} pt-BR,en: en-pt-BR"}));
  EXPECT_EQ(folder.found(folder.source("t.{pair}.{lang}", {"en", "de", "fr"}, {"*-en"})),
            (Names{"t.en-de.{lang} en,de: de-en", "t.fr_en.{lang} fr,en: fr-en"}));
  EXPECT_EQ(folder.found(folder.source("t.{pair}.{lang}", {}, {"de-en"})),
            (Names{"t.en-de.{lang} en,de: de-en"}));
  const Names among = {"en", "de"};
  EXPECT_EQ(folder.found(folder.source("t.{pair}.{lang}"), {.among = among}).size(), 1U);
  EXPECT_TRUE(
      has(folder.refused(folder.source("t.{pair}.{lang}", {"en", "de", "cs"})), "has the language 'cs'"));
  EXPECT_TRUE(
      has(folder.refused(folder.source("t.{pair}.{lang}", {}, {"de-fr"})), "has the direction 'de-fr'"));
  EXPECT_TRUE(has(folder.refused(folder.source("none.{pair}.{lang}")), "no two files match"));
  static_cast<void>(folder.file("t.en-cs.en", "a\n"));
  EXPECT_TRUE(has(folder.refused(folder.source("t.{pair}.{lang}")),
                  "of en-cs there is the file of en, and none of cs"));
  EXPECT_EQ(folder.found(folder.source("t.{pair}.{lang}", {"en", "de"})).size(), 1U);
}

TEST(FoundSources, TablesHaveTheLanguagesThatCount) {
  const Names among = {"en", "de"};
  EXPECT_EQ(find_sources({.tsv = "x.tsv"}, "where", {.among = among}).front().languages, among);
  EXPECT_THROW(find_sources({.tsv = "x.tsv"}, "where"), UserError);
}

}  // namespace
}  // namespace chorus
