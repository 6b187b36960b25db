#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "document/document.h"
#include "document/documents.h"

namespace chorus {
namespace {

using testing::ElementsAre;

TEST(SubtitleDocument, CuesAreSegmentsOfAsManyLines) {
  const std::string srt =
      "1\r\n00:00:01,000 --> 00:00:02,500\r\nIt was a <i>dark</i> night\r\nin the city.\r\n\r\n"
      "2\r\n00:00:03,000 --> 00:00:04,000 X1:40\r\n{\\an8}- Who is there?\r\n- Me & "
      "you.\r\n\r\n3\r\n00:00:05,000 --> 00:00:06,000\r\n";
  EXPECT_THAT(segments_of(DocumentFormat::srt, srt),
              ElementsAre("It was a dark night in the city.", "- Who is there?", "Me & you."));
  EXPECT_EQ(unchanged(DocumentFormat::srt, srt), srt);
  const Document document(DocumentFormat::srt, srt);
  EXPECT_EQ(document.write(std::vector<TranslatedSegment>{
                {"Es war eine finstere Nacht in der Stadt.",
                 {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {6, 6}, {7, 7}}},
                {"Wer ist da?"},
                {"Ich & du."}}),
            "1\r\n00:00:01,000 --> 00:00:02,500\r\nEs war eine <i>finstere</i>\r\nNacht in der Stadt.\r\n\r\n"
            "2\r\n00:00:03,000 --> 00:00:04,000 X1:40\r\n{\\an8}Wer ist da?\r\n- Ich & "
            "du.\r\n\r\n3\r\n00:00:05,000 --> 00:00:06,000\r\n");
}

TEST(SubtitleDocument, AnArrowInTextIsText) {
  const std::string srt = "1\n00:00:01,000 --> 00:00:02,500\nClick here --> there.\n12:30 sharp --> go\n";
  EXPECT_THAT(segments_of(DocumentFormat::srt, srt), ElementsAre("Click here --> there. 12:30 sharp --> go"));
}

TEST(SubtitleDocument, WebVttKeepsNotesStylesAndVoices) {
  const std::string vtt =
      "WEBVTT - a title\n\nSTYLE\n::cue { color: red }\n\nNOTE not text\n\nintro\n00:01.000 --> 00:02.000 "
      "align:start\n"
      "<v Ann>Hello <c.loud>big</c> world &amp; all\n\n00:03.000 --> 00:04.000\nlast";
  EXPECT_THAT(segments_of(DocumentFormat::vtt, vtt), ElementsAre("Hello big world & all", "last"));
  EXPECT_EQ(in_capitals(DocumentFormat::vtt, vtt),
            "WEBVTT - a title\n\nSTYLE\n::cue { color: red }\n\nNOTE not text\n\nintro\n00:01.000 --> "
            "00:02.000 align:start\n"
            "<v Ann>HELLO <c.loud>BIG</c> WORLD &amp; ALL\n\n00:03.000 --> 00:04.000\nLAST");
}

TEST(SubtitleDocument, LinesAreCutWhereTheScriptAllows) {
  const auto lines_of = [](const std::string& cue, const std::string& translation) {
    return translated(DocumentFormat::srt, "1 --> 2\n" + cue, translation).substr(8);
  };
  // "Today the weather is very good, we go out together": without spaces; no line begins with a comma.
  EXPECT_EQ(lines_of("one\ntwo", "\u4ECA\u5929\u5929\u6C14\u5F88\u597D\uFF0C\u6211\u4EEC\u51FA\u53BB"),
            "\u4ECA\u5929\u5929\u6C14\u5F88\u597D\uFF0C\n\u6211\u4EEC\u51FA\u53BB");
  // Thai: "hello world", behind words.
  EXPECT_EQ(lines_of("one\ntwo", "\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35\u0E0A\u0E32\u0E27\u0E42\u0E25\u0E01"),
            "\u0E2A\u0E27\u0E31\u0E2A\u0E14\u0E35\n\u0E0A\u0E32\u0E27\u0E42\u0E25\u0E01");
  EXPECT_EQ(lines_of("one\n<i>two</i>", "\u6211\u4EEC\u51FA\u53BB"), "\u6211\u4EEC\n<i>\u51FA\u53BB</i>");
  EXPECT_EQ(lines_of("one\ntwo", "\u8AAA\u300C\u4F60\u597D\u5417\u300D"),
            "\u8AAA\u300C\u4F60\u597D\n\u5417\u300D");
  // The last word is the longest; hyphens stay within a line.
  EXPECT_EQ(lines_of("one\ntwo", "a sesquipedalian"), "a\nsesquipedalian");
  EXPECT_EQ(lines_of("one\ntwo\nthree", "a b sesquipedalian-word"), "a\nb\nsesquipedalian-word");
  EXPECT_EQ(lines_of("one\ntwo\nthree", "well-known"), "well-known");
}

TEST(SubtitleDocument, DashesEndWhereOtherCharactersBegin) {
  // These share their first bytes with dashes.
  const std::string srt =
      "1 --> 2\n- \u201CHello\u201D\n- \u2026and you\n\u2013 \u2019tis me\n\u2014\u266A la\n- "
      "\u00E9t\u00E9\n-\n";
  EXPECT_THAT(
      segments_of(DocumentFormat::srt, srt),
      ElementsAre("\u201CHello\u201D", "\u2026and you", "\u2019tis me", "\u266A la", "\u00E9t\u00E9"));
  EXPECT_EQ(in_capitals(DocumentFormat::srt, srt),
            "1 --> 2\n- \u201CHELLO\u201D\n- \u2026AND YOU\n\u2013 \u2019TIS ME\n\u2014\u266A LA\n- "
            "\u00E9T\u00E9\n-\n");
}

TEST(SubtitleDocument, WhatIsBrokenSurvives) {
  for (const std::string srt : {"-->", "-->\n-", "1 --> 2\n<i>x\n{\\an8", "1 --> 2\n{\\x}{\\y",
                                "1 --> 2\nx</i>\n\n\n-->\n\xE2\x80\x93 y"})
    for (const DocumentFormat format : {DocumentFormat::srt, DocumentFormat::vtt})
      EXPECT_EQ(unchanged(format, srt), srt);
}

TEST(SubtitleDocument, TimesInACueStay) {
  const std::string vtt =
      "WEBVTT\n\n00:01.000 --> 00:02.000\nopen<00:00:01.120><c> the</c><00:00:01.439><c> file</c>\n";
  EXPECT_THAT(segments_of(DocumentFormat::vtt, vtt), ElementsAre("open the file"));
  EXPECT_EQ(unchanged(DocumentFormat::vtt, vtt), vtt);
  EXPECT_EQ(in_capitals(DocumentFormat::vtt, "00:01.000 --> 00:02.000\na <00:00:01.5>b < 3 <1> c\n"),
            "00:01.000 --> 00:02.000\nA <00:00:01.5>B &lt; 3 &lt;1&gt; C\n");
}

TEST(SubtitleDocument, CuesWithoutAnEmptyLineBetween) {
  const std::string srt =
      "1\n00:00:01,000 --> 00:00:02,000\nsave it\n2\n00:00:02,000 --> 00:00:03,000\nat\n42\nplaces\n";
  EXPECT_THAT(segments_of(DocumentFormat::srt, srt), ElementsAre("save it", "at 42 places"));
  EXPECT_THAT(in_capitals(DocumentFormat::srt, srt),
              testing::StartsWith("1\n00:00:01,000 --> 00:00:02,000\nSAVE IT\n2\n00:00:02,000 --> "));
}

}  // namespace
}  // namespace chorus
