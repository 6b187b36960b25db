#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "document/document.h"
#include "document/documents.h"

namespace chorus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr auto kText = DocumentFormat::text;

TEST(TextDocument, LinesAreSegmentsAndAllElseIsKept) {
  const std::string text =
      "\xEF\xBB\xBF  First line. Second sentence.\r\n\r\n\tand  more \t\n\n---\n12.5 %\nlast";
  EXPECT_THAT(segments_of(kText, text), ElementsAre("First line. Second sentence.", "and  more", "last"));
  EXPECT_EQ(unchanged(kText, text), text);
  EXPECT_EQ(in_capitals(kText, text),
            "\xEF\xBB\xBF  FIRST LINE. SECOND SENTENCE.\r\n\r\n\tAND  MORE \t\n\n---\n12.5 %\nLAST");
}

TEST(TextDocument, EveryLineEndOfUnicodeEndsASegment) {
  const std::string text =
      "a\rb\u2028c\u2029d\u0085"
      "e\ff\v";
  EXPECT_THAT(segments_of(kText, text), ElementsAre("a", "b", "c", "d", "e", "f"));
  EXPECT_EQ(in_capitals(kText, text),
            "A\rB\u2028C\u2029D\u0085"
            "E\fF\v");
}

TEST(TextDocument, EmptyDocumentsHaveNoSegments) {
  for (const std::string& text : {std::string(), std::string(" \n\r\n"), std::string("\0", 1)}) {
    EXPECT_THAT(segments_of(kText, text), ElementsAre());
    EXPECT_EQ(unchanged(kText, text), text);
  }
}

TEST(TextDocument, MarkupIsText) {
  EXPECT_EQ(translated(kText, "<b>x</b> &amp;\n", "<i>&lt;"), "<i>&lt;\n");
}

TEST(TextDocument, LongLinesAreCut) {
  std::string spaced, dense;
  while (spaced.size() < 3 * Document::kMostSegmentBytes) spaced += "word ";
  while (dense.size() < 3 * Document::kMostSegmentBytes) dense += "\u6587";
  for (const std::string& text : {spaced, dense}) {
    const std::vector<std::string> segments = segments_of(kText, text);
    EXPECT_GE(segments.size(), 3);
    std::string joined;
    for (const std::string& segment : segments) {
      EXPECT_LE(segment.size(), Document::kMostSegmentBytes);
      joined += segment + (text == spaced ? " " : "");
    }
    EXPECT_EQ(joined, text);
    EXPECT_EQ(unchanged(kText, text), text);
  }
}

TEST(TextDocument, RefusesWhatIsNotUtf8AndWhatIsTooLong) {
  for (const std::string& text : {std::string("one\ntwo \xff"), std::string("one\n\xc3")}) {
    try {
      Document(kText, text);
      FAIL() << text;
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr("not UTF-8"));
      EXPECT_THAT(error.what(), HasSubstr("line 2"));
    }
  }
  EXPECT_THROW(Document(kText, std::string(Document::kMostBytes + 1, 'a')), UserError);
}

TEST(TextDocument, NeedsATranslationOfEachSegment) {
  EXPECT_THROW(static_cast<void>(Document(kText, "a\nb").write(std::vector<TranslatedSegment>(1))), Error);
}

}  // namespace
}  // namespace chorus
