#include "data/parallel_text.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

using Rows = std::vector<std::vector<std::string>>;

/// Cells as text, or their fault in brackets.
Rows rows_of(ParallelReader& reader) {
  static const char* const kNames[] = {"", "<empty>", "<invalid>", "<long>", "<misshapen>"};
  Rows rows;
  while (reader.next()) {
    auto& row = rows.emplace_back();
    for (const Cell& cell : reader.cells())
      row.emplace_back(kNames[static_cast<int>(cell.status)] + std::string(cell.text));
    EXPECT_EQ(reader.row(), static_cast<int64_t>(rows.size()));
  }
  return rows;
}

TEST(ParallelReader, AlignedFilesRowByRow) {
  const TextFolder folder;
  ParallelReader reader({{"en", "de", "ja"},
                         {folder.file("en", "one\ntwo\n \n"), folder.file("de", "eins\r\n\r\ndrei"),
                          folder.file("ja", "\xFF\n12345\u3000\n123456\n")}},
                        5);
  EXPECT_EQ(
      rows_of(reader),
      (Rows{{"one", "eins", "<invalid>"}, {"two", "<empty>", "<long>"}, {"<empty>", "drei", "<long>"}}));
  const CellCounts& ja = reader.counts()[2];
  EXPECT_EQ(ja.language, "ja");
  EXPECT_EQ(ja.lines, 3);
  EXPECT_EQ(ja.ok, 0);
  EXPECT_EQ(ja.over_long.count, 2);
  EXPECT_EQ(summary(ja),
            (std::vector<std::string>{ja.path.string() + ": 1 line with invalid UTF-8 (first: line 1)",
                                      ja.path.string() + ": 2 lines over-long (first: line 2)"}));
  EXPECT_EQ(summary(reader.counts()[0]).front(),
            reader.counts()[0].path.string() + ": 1 line empty (first: line 3)");
}

TEST(ParallelReader, TsvColumns) {
  const TextFolder folder;
  ParallelReader reader(
      {{"en", "de"}, {folder.file("x.tsv", "one\teins\n\tzwei\nthree\na\tb\tc\n\xFF\tf\r\n123456\tg\n")}}, 5);
  EXPECT_EQ(rows_of(reader), (Rows{{"one", "eins"},
                                   {"<empty>", "zwei"},
                                   {"<misshapen>", "<misshapen>"},
                                   {"<misshapen>", "<misshapen>"},
                                   {"<invalid>", "f"},
                                   {"<long>", "g"}}));
  EXPECT_EQ(reader.counts()[1].misshapen.count, 2);
  EXPECT_EQ(reader.counts()[1].misshapen.first_line, 3);
  EXPECT_EQ(reader.counts()[1].lines, 6);
}

TEST(ParallelReader, TsvOfAnotherWidthIsRefused) {
  const TextFolder folder;
  const auto path = folder.file("x.tsv", "one\teins\tun\n");
  ParallelReader reader({{"en", "de"}, {path}});
  EXPECT_EQ(message_of<UserError>([&] { reader.next(); }),
            path.string() + ":1: the row has 3 columns, but 2 languages are named for it");
}

TEST(ParallelReader, MonolingualAndEmptyFiles) {
  const TextFolder folder;
  ParallelReader mono({{"en"}, {folder.file("en", "a\tb\nc\n")}});
  EXPECT_EQ(rows_of(mono), (Rows{{"a\tb"}, {"c"}}));
  ParallelReader none({{"en", "de"}, {folder.file("e", ""), folder.file("d", "")}});
  EXPECT_FALSE(none.next());
  EXPECT_TRUE(summary(none.counts()[0]).empty());
}

TEST(ParallelReader, NulBytesMakeACellInvalid) {
  const TextFolder folder;
  ParallelReader reader({{"en"}, {folder.file("en", std::string_view("a\0b\n", 4))}});
  EXPECT_EQ(rows_of(reader), (Rows{{"<invalid>"}}));
}

TEST(ParallelReader, UnequalLengthsNameBothFilesAndTheirCounts) {
  const TextFolder folder;
  const auto en = folder.file("en", "1\n2\n3\n"), fr = folder.file("fr", "1\n2\n3\n"),
             de = folder.file("de", "1\n");
  ParallelReader reader({{"en", "fr", "de"}, {en, fr, de}});
  EXPECT_EQ(message_of<UserError>([&] { rows_of(reader); }),
            "the files of a parallel corpus differ in length: " + en.string() + " has 3 lines, " +
                de.string() + " has 1 line");
}

TEST(ParallelReader, LanguagesAndFilesMustFit) {
  EXPECT_THROW(ParallelReader(TextSource{}), UserError);
  EXPECT_THROW(ParallelReader({{"en"}, {}}), UserError);
  EXPECT_THROW(ParallelReader({{"en", "de", "fr"}, {"a", "b"}}), UserError);
  EXPECT_THROW(ParallelReader({{"en"}, {"a", "b"}}), UserError);
}

}  // namespace
}  // namespace chorus
