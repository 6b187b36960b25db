#include "corpus/corpus_report.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

TEST(DuplicateCounter, IsExactWhileFewAndCloseWhenMany) {
  DuplicateCounter few;
  for (const uint64_t hash : {1, 2, 1, 1, 3}) few.add(hash);
  EXPECT_EQ(few.duplicates(), 2);
  EXPECT_TRUE(few.exact());
  DuplicateCounter many(1000);
  const RandomKey key(1);
  for (uint64_t i = 0; i < 100000; ++i) many.add(key.bits(i % 50000));
  EXPECT_FALSE(many.exact());
  EXPECT_NEAR(static_cast<double>(many.duplicates()), 50000, 10000);
}

TEST(CorpusReport, CountsALanguage) {
  const TextFolder folder;
  const auto path = folder.file("de", "Öl\nzwei Wörter\n\nÖl\n\xFF\n" + std::string(100000, 'x') + "\n");
  const CorpusReport report = report_corpus({{"de"}, {path}});
  const LanguageReport& de = report.languages[0];
  EXPECT_EQ(report.rows, 6);
  EXPECT_EQ(report.usable, 3);
  EXPECT_EQ(de.cells.ok, 3);
  EXPECT_EQ(de.words, 4);
  EXPECT_EQ(de.characters, 2 + 11 + 2);
  EXPECT_EQ(de.longest, 11);
  EXPECT_EQ(de.lengths[0], 2);
  EXPECT_EQ(de.lengths[1], 1);
  EXPECT_EQ(de.repeated.duplicates(), 1);
  const std::string table = to_table(report);
  for (const char* line : {": 1 line with invalid UTF-8 (first: line 5)\n",
                           ": 1 line over-long (first: line 6)\n", ": 1 line empty (first: line 3)\n"}) {
    EXPECT_NE(table.find(path.string() + line), std::string::npos) << table;
  }
  EXPECT_NE(to_json({report}).find("\"words\": 4"), std::string::npos);
}

TEST(CorpusReport, CountsRows) {
  const TextFolder folder;
  const CorpusReport report =
      report_corpus({{"en", "de", "fr"}, {folder.file("x.tsv", "a\tb\tc\na\t\tc\n\t\tc\na\tb\tc\n")}});
  EXPECT_EQ(report.rows, 4);
  EXPECT_EQ(report.usable, 3);
  EXPECT_EQ(report.complete, 2);
  EXPECT_EQ(report.repeated.duplicates(), 1);
  EXPECT_NE(to_table(report).find("rows 4, usable 3"), std::string::npos);
}

TEST(CorpusReport, EmptyFiles) {
  const TextFolder folder;
  const CorpusReport report = report_corpus({{"en", "de"}, {folder.file("e", ""), folder.file("d", "")}});
  EXPECT_EQ(report.rows, 0);
  EXPECT_NE(to_table(report).find("lines 0"), std::string::npos);
}

}  // namespace
}  // namespace chorus
