#include "corpus/gettext_corpus.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include <gtest/gtest.h>

#include "base/error.h"
#include "corpus/mo_file.h"
#include "corpus/ui_text.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

using Lines = std::vector<std::string>;

Lines lines(const std::string& text) {
  std::istringstream stream(text);
  Lines result;
  for (std::string line; std::getline(stream, line);) result.push_back(line);
  return result;
}

std::string word(const char* stem, int i) {
  return stem + std::string(1, static_cast<char>('a' + i / 26)) + static_cast<char>('a' + i % 26);
}

/// Sentences that differ in a word, each also in other case, punctuation and with other numbers under another
/// context.
MoStrings sentences(const std::string& language, int count) {
  MoStrings strings;
  for (int i = 0; i < count; ++i) {
    const std::string english = "Delete the " + word("thing", i);
    const std::string translated = word("ding", i) + " " + language + " weg";
    strings.emplace_back("one\4_" + english, "~" + translated);
    strings.emplace_back("two\4" + english + "...", translated + "...");
    strings.emplace_back("three\4" + english + " 1", translated + " 1");
    strings.emplace_back("three\4DELETE THE " + word("thing", i) + " 2!", translated + " 2!");
  }
  return strings;
}

void write_catalogs(const TextFolder& folder, int count = 60) {
  (void)folder.file("share/locale/de/LC_MESSAGES/app.mo", mo_file(sentences("de", count)));
  (void)folder.file("share/locale/pt_BR/LC_MESSAGES/app.mo", mo_file(sentences("pt", count), true));
}

GettextCorpusOptions options(const TextFolder& folder, int64_t valid = 10, int64_t test = 10) {
  GettextCorpusOptions result;
  result.root = folder.path();
  result.languages = {"en", "de", "pt-BR"};
  result.valid = valid;
  result.test = test;
  return result;
}

int64_t sum(const GettextTally& t) {
  return t.train + t.valid + t.test + t.empty + t.ill_formed + t.no_letters + t.over_long + t.untranslated +
         t.duplicate + t.held_out + t.alone;
}

TEST(GettextCorpus, SplitsDoNotShareAnEnglishString) {
  const TextFolder folder;
  write_catalogs(folder);
  const GettextCorpus corpus = build_gettext_corpus(options(folder));
  const auto& [train, valid, test] = corpus.splits;
  EXPECT_EQ(valid.rows, 10);
  EXPECT_EQ(test.rows, 10);
  // 60 sentences, each as "delete the x" (two spellings), "... 1" and "... 2"; 20 of them held out.
  EXPECT_EQ(train.rows, 40 * 3);
  std::map<std::string, std::string> split_of;
  for (const auto& split : corpus.splits) {
    for (size_t i = 0; i < corpus.languages.size(); ++i) {
      const Lines text = lines(split.text[i]);
      EXPECT_EQ(static_cast<int64_t>(text.size()), split.rows);
      if (i > 0) continue;
      for (const auto& line : text)
        EXPECT_EQ(split_of.emplace(fold_letters(line), split.name).first->second, split.name);
    }
  }
  for (const auto& tally : corpus.tallies) {
    EXPECT_EQ(tally.found, 240) << tally.language;
    EXPECT_EQ(sum(tally), tally.found) << tally.language;
    EXPECT_EQ(tally.held_out, 20 * 2);
    EXPECT_EQ(tally.duplicate, 60);
  }
}

TEST(GettextCorpus, RowsAreAlignedAndClean) {
  const TextFolder folder;
  write_catalogs(folder);
  const GettextCorpus corpus = build_gettext_corpus(options(folder));
  for (const auto& split : corpus.splits) {
    const Lines en = lines(split.text[0]), de = lines(split.text[1]), pt = lines(split.text[2]);
    for (size_t i = 0; i < en.size(); ++i) {
      const std::string id = fold_letters(en[i]).substr(std::string("deletethething").size());
      EXPECT_EQ(fold_letters(de[i]), "ding" + id + "deweg");
      EXPECT_EQ(fold_letters(pt[i]), "ding" + id + "ptweg");
      EXPECT_EQ(en[i].find_first_of("_~"), std::string::npos);
      EXPECT_EQ(de[i].find_first_of("_~"), std::string::npos);
    }
  }
}

TEST(GettextCorpus, DependsOnContentAndSeedAlone) {
  const TextFolder first, second;
  write_catalogs(first);
  // The same messages, written in another order.
  auto de = sentences("de", 60), pt = sentences("pt", 60);
  std::ranges::reverse(de);
  (void)second.file("share/locale/pt_BR/LC_MESSAGES/app.mo", mo_file(pt));
  (void)second.file("share/locale/de/LC_MESSAGES/app.mo", mo_file(de));
  const GettextCorpus a = build_gettext_corpus(options(first)), b = build_gettext_corpus(options(second));
  auto other_seed = options(first);
  other_seed.seed = 2;
  const GettextCorpus c = build_gettext_corpus(other_seed);
  for (size_t i = 0; i < a.splits.size(); ++i) {
    EXPECT_EQ(a.splits[i].text, b.splits[i].text);
    EXPECT_NE(a.splits[i].text, c.splits[i].text);
  }
}

TEST(GettextCorpus, WhatIsDroppedIsCounted) {
  const TextFolder folder;
  const std::string accent = "\xC3";
  (void)folder.file("de/LC_MESSAGES/a.mo", mo_file({{"Open", "Öffnen"},
                                                    {"x\4open", "Auf"},
                                                    {"y\4Open", "Öffnen"},
                                                    {"%1 / %2", "%1 / %2"},
                                                    {"Page", "%1"},
                                                    {"Close", ""},
                                                    {"Save", accent},
                                                    {"Use the default value", "Use the default value"},
                                                    {"Layout", "Layout"},
                                                    {"Only German", "Nur Deutsch"},
                                                    {"Long", std::string(401, 'x')},
                                                    {std::string(20000, 'y'), "kurz"}}));
  (void)folder.file("en_GB/LC_MESSAGES/a.mo",
                    mo_file({{"Open", "Open"}, {"Use the default value", "Use the default value"}}));
  auto asked = options(folder, 0, 0);
  asked.languages = {"en", "de", "en_GB"};
  const GettextCorpus corpus = build_gettext_corpus(asked);
  const GettextTally& de = corpus.tallies[1];
  EXPECT_EQ(de.found, 12);
  EXPECT_EQ(sum(de), de.found);
  EXPECT_EQ(de.duplicate, 2);
  EXPECT_EQ(de.no_letters, 2);
  EXPECT_EQ(de.empty, 1);
  EXPECT_EQ(de.ill_formed, 1);
  EXPECT_EQ(de.untranslated, 1);
  EXPECT_EQ(de.over_long, 2);
  EXPECT_EQ(de.train, 3);  // Open, Layout, Only German
  const GettextTally& en = corpus.tallies[0];
  EXPECT_EQ(sum(en), en.found);
  EXPECT_EQ(en.alone, 3);  // Page, Close, Long; "Save" is in no catalog that could be read
  EXPECT_EQ(corpus.tallies[2].train, 2);
  const GettextSplit& train = corpus.splits[0];
  const Lines english = lines(train.text[0]), german = lines(train.text[1]);
  const auto open = std::ranges::find(english, "Open") - english.begin();
  ASSERT_LT(open, static_cast<int64_t>(english.size()));
  EXPECT_EQ(german[static_cast<size_t>(open)], "Öffnen");
}

TEST(GettextCorpus, PluralsGiveTheirGeneralForm) {
  const TextFolder folder;
  using namespace std::string_literals;
  (void)folder.file("de/LC_MESSAGES/a.mo", mo_file({{"One page\0%1 pages"s, "Eine Seite\0%1 Seiten"s}}));
  (void)folder.file("ru/LC_MESSAGES/a.mo",
                    mo_file({{"One page\0%1 pages"s, "%1 страница\0%1 страницы\0%1 страниц"s}}));
  (void)folder.file("ja/LC_MESSAGES/a.mo", mo_file({{"One page\0%1 pages"s, "%1 ページ"s}}));
  auto asked = options(folder, 0, 0);
  asked.languages = {"en", "de", "ru", "ja"};
  const GettextCorpus corpus = build_gettext_corpus(asked);
  std::vector<Lines> rows(static_cast<size_t>(corpus.splits[0].rows));
  for (const auto& text : corpus.splits[0].text) {
    for (size_t i = 0; i < rows.size(); ++i) rows[i].push_back(lines(text)[i]);
  }
  EXPECT_EQ(std::ranges::count(rows, Lines{"%1 pages", "%1 Seiten", "%1 страниц", "%1 ページ"}), 1);
  EXPECT_EQ(std::ranges::count(rows, Lines{"One page", "Eine Seite", "", ""}), 1);
}

TEST(GettextCorpus, HeldOutTextIsNotInTrainInAnyLanguage) {
  const TextFolder folder;
  MoStrings de = sentences("de", 60);
  for (int i = 0; i < 60; ++i) {
    // Another English string with the same German one; and a German one that is an English one.
    de.emplace_back("Remove this " + word("thing", i), word("ding", i) + " de WEG!");
    de.emplace_back("Kill this " + word("thing", i), "delete, the " + word("thing", i));
  }
  (void)folder.file("de/LC_MESSAGES/a.mo", mo_file(de));
  auto asked = options(folder);
  asked.languages = {"en", "de"};
  const GettextCorpus corpus = build_gettext_corpus(asked);
  std::set<std::string> held_out, held_out_english;
  for (const auto* split : {&corpus.splits[1], &corpus.splits[2]}) {
    for (const auto& line : lines(split->text[0])) held_out_english.insert(fold_letters(line));
    for (const auto& line : lines(split->text[1])) held_out.insert(fold_letters(line));
  }
  ASSERT_EQ(held_out_english.size(), 20U);
  for (const auto& line : lines(corpus.splits[0].text[1])) {
    EXPECT_FALSE(held_out.contains(fold_letters(line))) << line;
    EXPECT_FALSE(held_out_english.contains(fold_letters(line))) << line;
  }
  EXPECT_EQ(sum(corpus.tallies[1]), corpus.tallies[1].found);
}

TEST(GettextCorpus, RefusesWhatCannotBe) {
  const TextFolder folder;
  write_catalogs(folder);
  auto asked = options(folder);
  asked.languages = {"en", "xx"};
  EXPECT_EQ(message_of<UserError>([&] { build_gettext_corpus(asked); }),
            "no catalogs for language xx under " + folder.path().string() + "; there are: en, de, pt_BR");
  asked.languages = {"en", "en"};
  EXPECT_EQ(message_of<UserError>([&] { build_gettext_corpus(asked); }), "language en is named twice");
  asked.languages = {"en"};
  EXPECT_NE(message_of<UserError>([&] { build_gettext_corpus(asked); }).find("two languages"),
            std::string::npos);
  EXPECT_NE(message_of<UserError>([&] {
              build_gettext_corpus(options(folder, 40, 21));
            }).find("valid and test ask for 61 rows, out of only 60"),
            std::string::npos);
  (void)folder.file("share/locale/de/LC_MESSAGES/broken.mo", "not a catalog at all, but long enough");
  EXPECT_NE(message_of<UserError>([&] {
              build_gettext_corpus(options(folder));
            }).find("broken.mo: not a gettext catalog"),
            std::string::npos);
  const TextFolder none;
  EXPECT_NE(message_of<UserError>([&] { build_gettext_corpus(options(none)); }).find("no gettext catalogs"),
            std::string::npos);
}

TEST(GettextCorpus, OverwritesOnlyWhenTold) {
  const TextFolder folder;
  write_catalogs(folder);
  const auto out = folder / "out";
  const GettextCorpus corpus = build_gettext_corpus(options(folder));
  write_gettext_corpus(corpus, out, false);
  EXPECT_EQ(folder.text("out/test.pt-BR"), corpus.splits[2].text[2]);
  write_gettext_corpus(corpus, out, false);  // the same again: nothing to do
  auto fewer = options(folder);
  fewer.languages = {"en", "de"};
  const GettextCorpus other = build_gettext_corpus(fewer);
  EXPECT_NE(
      message_of<UserError>([&] { write_gettext_corpus(other, out, false); }).find("files of another corpus"),
      std::string::npos);
  auto larger = options(folder, 12, 12);
  const GettextCorpus changed = build_gettext_corpus(larger);
  EXPECT_NE(message_of<UserError>([&] {
              write_gettext_corpus(changed, out, false);
            }).find("exists and would change"),
            std::string::npos);
  EXPECT_EQ(folder.text("out/test.pt-BR"), corpus.splits[2].text[2]);
  write_gettext_corpus(other, out, true);
  EXPECT_FALSE(std::filesystem::exists(out / "test.pt-BR"));
  EXPECT_EQ(folder.text("out/train.de"), other.splits[0].text[1]);
}

TEST(GettextCorpus, LeavesWhatItDidNotWrite) {
  const TextFolder folder;
  write_catalogs(folder);
  const auto out = folder / "out";
  std::filesystem::create_directory(out);
  (void)folder.file("out/train.py", "precious");
  (void)folder.file("out/test.de", "precious");
  (void)folder.file("precious", "precious");
  const GettextCorpus corpus = build_gettext_corpus(options(folder));
  const auto refusal = [&](bool overwrite) {
    return message_of<UserError>([&] { write_gettext_corpus(corpus, out, overwrite); });
  };
  EXPECT_NE(refusal(false).find("out/test.de exists, would change, and is not as"), std::string::npos);
  EXPECT_NE(refusal(true).find("out/test.de exists, would change, and is not as"), std::string::npos);
  EXPECT_EQ(folder.text("out/test.de"), "precious");
  std::filesystem::remove(out / "test.de");
  write_gettext_corpus(corpus, out, false);
  EXPECT_EQ(folder.text("out/train.py"), "precious");

  // Edited since, or a link now: no longer what it wrote.
  auto fewer = options(folder);
  fewer.languages = {"en", "de"};
  const GettextCorpus other = build_gettext_corpus(fewer);
  (void)folder.file("out/test.pt-BR", "edited");
  std::filesystem::remove(out / "valid.pt-BR");
  std::filesystem::create_symlink("../precious", out / "valid.pt-BR");
  write_gettext_corpus(other, out, true);
  EXPECT_FALSE(std::filesystem::exists(out / "train.pt-BR"));
  EXPECT_EQ(folder.text("out/test.pt-BR"), "edited");
  EXPECT_EQ(folder.text("out/valid.pt-BR"), "precious");
  EXPECT_EQ(folder.text("out/train.py"), "precious");
  EXPECT_NE(refusal(true).find("valid.pt-BR exists, would change, and is not as"), std::string::npos);
  EXPECT_EQ(folder.text("precious"), "precious");

  (void)folder.file("out/.gettext.json", "[1]");
  EXPECT_NE(refusal(true).find("out/.gettext.json"), std::string::npos);
}

TEST(GettextCorpus, TableAndJsonSayTheCounts) {
  const TextFolder folder;
  write_catalogs(folder);
  const GettextCorpus corpus = build_gettext_corpus(options(folder));
  EXPECT_NE(to_table(corpus).find("2 catalogs; rows: 120 train, 10 valid, 10 test"), std::string::npos)
      << to_table(corpus);
  EXPECT_NE(to_json(corpus).find("\"held_out\": 40"), std::string::npos) << to_json(corpus);
}

}  // namespace
}  // namespace chorus
