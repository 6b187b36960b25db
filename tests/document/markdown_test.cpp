#include <cctype>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "document/document.h"
#include "document/documents.h"

namespace chorus {
namespace {

using testing::ElementsAre;

constexpr auto kMarkdown = DocumentFormat::markdown;

TEST(MarkdownDocument, BlocksAreSegments) {
  const std::string page =
      "---\ntitle: x\n---\n# The *head* #\n\nA paragraph\nover two lines.\nA hard break  \nthen more.\n\n"
      "> a quote\n> goes on\n\n- one\n  still one\n- [x] two\n  1. three\n\nSetext\n======\n\n"
      "```sh\ncode here\n```\n\n    indented code\n\n| Head | Other |\n|---|:--|\n| a b | 42 |\n\n* * *\n"
      "[ref]: https://x.y \"title\"\n[^1]: A footnote.\r\n\r\n<div>\n<p>html "
      "<b>text</b></p>\n</div>\n\nlast\n";
  EXPECT_THAT(segments_of(kMarkdown, page),
              ElementsAre("The head", "A paragraph over two lines. A hard break", "then more.",
                          "a quote goes on", "one still one", "two", "three", "Setext", "Head", "Other",
                          "a b", "A footnote.", "html text", "last"));
  EXPECT_EQ(unchanged(kMarkdown, page), page);
  EXPECT_EQ(
      in_capitals(kMarkdown, page),
      "---\ntitle: x\n---\n# THE *HEAD* #\n\nA PARAGRAPH OVER TWO LINES. A HARD BREAK  \nTHEN MORE.\n\n"
      "> A QUOTE GOES ON\n\n- ONE STILL ONE\n- [x] TWO\n  1. THREE\n\nSETEXT\n======\n\n"
      "```sh\ncode here\n```\n\n    indented code\n\n| HEAD | OTHER |\n|---|:--|\n| A B | 42 |\n\n* * *\n"
      "[ref]: https://x.y \"title\"\n[^1]: A FOOTNOTE.\r\n\r\n<div>\n<p>HTML "
      "<b>TEXT</b></p>\n</div>\n\nLAST\n");
}

TEST(MarkdownDocument, AByteOrderMarkIsNoText) {
  const std::string mark = "\xEF\xBB\xBF";
  EXPECT_EQ(in_capitals(kMarkdown, mark + "# head\r\n"), mark + "# HEAD\r\n");
  EXPECT_EQ(in_capitals(kMarkdown, mark + "---\ntitle: x\n---\ntext\n"), mark + "---\ntitle: x\n---\nTEXT\n");
  EXPECT_EQ(in_capitals(kMarkdown, mark), mark);
}

TEST(MarkdownDocument, SettingsAtTheBeginningStay) {
  for (const std::string settings : {"---\ntitle: x\n---\n", "+++\ntitle = \"x\"\n\n[extra]\na = 1\n+++\n",
                                     "+++\r\ntitle = 'x'\r\n+++\r\n", "\xEF\xBB\xBF+++\na = 'b'\n+++\n"})
    EXPECT_EQ(in_capitals(kMarkdown, settings + "text\n"), settings + "TEXT\n");
  EXPECT_THAT(segments_of(kMarkdown, "text\n\n+++\na\n+++\n"), ElementsAre("text", "+++ a +++"));
}

TEST(MarkdownDocument, TextInHtmlIsEscapedAsThere) {
  EXPECT_EQ(translated(kMarkdown, "<p>x</p>", "2 * 3 < `y` & z_"), "<p>2 * 3 &lt; `y` &amp; z_</p>");
  EXPECT_EQ(translated(kMarkdown, "<p>x <b>y</b></p>", "1. * <", {{0, 0}, {1, 1}}),
            "<p>1. <b>*</b> &lt;</p>");
  EXPECT_EQ(translated(kMarkdown, "<p>x</p>\n\nx\n", "1*2"), "<p>1*2</p>\n\n1\\*2\n");
}

TEST(MarkdownDocument, HtmlEndsAtAnEmptyLine) {
  for (const std::string empty : {"\n", "\r\n", "  \t\r\n"})
    EXPECT_EQ(in_capitals(kMarkdown, "<div>\nsee:\n" + empty + "```\ncode\n```\n" + empty + "a *b*\n" +
                                         empty + "</div>\n"),
              "<div>\nSEE:\n" + empty + "```\ncode\n```\n" + empty + "A *B*\n" + empty + "</div>\n");
}

TEST(MarkdownDocument, ACommentEndsWithItsLine) {
  const std::string comment = "<!-- one\n\ntwo -->";
  EXPECT_EQ(in_capitals(kMarkdown, comment + " *a*\n| b | c |\n|---|---|\n"),
            comment + " *A*\n| B | C |\n|---|---|\n");
  EXPECT_EQ(in_capitals(kMarkdown, "<?php echo '>'; ?>\n# a\n<!DOCTYPE html>\n- b\n- c"),
            "<?php echo '>'; ?>\n# A\n<!DOCTYPE html>\n- B\n- C");
  EXPECT_EQ(in_capitals(kMarkdown, "<div>\n# a\nb\n\nc\n"), "<div>\n# A B\n\nC\n");
}

TEST(MarkdownDocument, AFenceEndsWithItsQuote) {
  EXPECT_THAT(segments_of(kMarkdown, "> ```\n> code\n\nSave\n"), ElementsAre("Save"));
  EXPECT_THAT(segments_of(kMarkdown, "> > ~~~\n> > code\n> Save\n"), ElementsAre("Save"));
  EXPECT_THAT(segments_of(kMarkdown, "> ```\n> code\n>\n> code\n> ```\n> Save\n"), ElementsAre("Save"));
  EXPECT_THAT(segments_of(kMarkdown, "```\n> ```\n> code\n```\nSave\n"), ElementsAre("Save"));
  EXPECT_THAT(segments_of(kMarkdown, "- ```\n  code\n\n  code\n  ```\n  Save\n"), ElementsAre("Save"));
}

TEST(MarkdownDocument, BackticksWithMoreBehindThemAreNoFence) {
  const std::string page = "```ls -l``` lists the files\n\nSave\n\n``` a`b\n\nOpen\n\n~~~ a`b\ncode\n~~~\n";
  EXPECT_THAT(segments_of(kMarkdown, page), ElementsAre("lists the files", "Save", "``` a`b", "Open"));
  EXPECT_EQ(in_capitals(kMarkdown, "```ls -l``` lists the files\n\nSave\n"),
            "```ls -l``` LISTS THE FILES\n\nSAVE\n");
}

TEST(MarkdownDocument, FormulasStay) {
  EXPECT_THAT(segments_of(kMarkdown, "Let $x_i$ be\n\n$$\n= \\sum_i x\n\n- y\n$$\n\nSave\n"),
              ElementsAre("Let be", "Save"));
  EXPECT_EQ(in_capitals(kMarkdown, "let $x_i$ be $$a\nb$$, no\n\n> $$\n> - x\n> $$\n> save\n"),
            "LET $x_i$ BE $$a\nb$$, NO\n\n> $$\n> - x\n> $$\n> SAVE\n");
  // Money, and what does not end.
  for (const char* text : {"from $10 to $20", "us$5 or a$7", "pay in $ or $ now",
                           "set $HOME to $BIN:$PATH now", "$5 and \\$6", "$$ a", "a $"})
    EXPECT_THAT(segments_of(kMarkdown, text).size(), 1) << text;
  EXPECT_EQ(in_capitals(kMarkdown, "from $10 to $20 or\n"), "FROM $10 TO $20 OR\n");
  EXPECT_EQ(in_capitals(kMarkdown, "$$\na\n\n- b\n"), "$$ A\n\n- B\n");
}

TEST(MarkdownDocument, TablesWithoutOuterBars) {
  const std::string table = "Name | Value\n--- | :-:\nSave \\| x | Open\n| a | **b** |\nlast\n";
  EXPECT_THAT(segments_of(kMarkdown, table),
              ElementsAre("Name", "Value", "Save | x", "Open", "a", "b", "last"));
  EXPECT_EQ(unchanged(kMarkdown, table), table);
  EXPECT_EQ(in_capitals(kMarkdown, table),
            "NAME | VALUE\n--- | :-:\nSAVE \\| X | OPEN\n| A | **B** |\nLAST\n");
  EXPECT_EQ(in_capitals(kMarkdown, "Text\nName|Value  \r\n-|-\r\na|b\r\n\r\na | b\r\n"),
            "TEXT\nNAME|VALUE  \r\n-|-\r\nA|B\r\n\r\nA \\| B\r\n");
  EXPECT_EQ(in_capitals(kMarkdown, "> a | b\n> --|--\n> c | d\n"), "> A | B\n> --|--\n> C | D\n");
  EXPECT_EQ(in_capitals(kMarkdown, "- a | b\n  --|--\n  c | d\n- e\n  f\n"),
            "- A | B\n  --|--\n  C | D\n- E F\n");
  EXPECT_EQ(in_capitals(kMarkdown, "| a |\n|---|\n| b |\n# c\nd\ne\n"), "| A |\n|---|\n| B |\n# C\nD E\n");
  EXPECT_EQ(in_capitals(kMarkdown, "a | b\n--|--\n<b>c</b> | d\n<div>\ne\nf\n"),
            "A | B\n--|--\n<b>C</b> | D\n<div>\nE F\n");
  // Not as many cells, or no bar: text, or a heading.
  EXPECT_THAT(segments_of(kMarkdown, "a | b\n--- | --- | ---\nc\n"), ElementsAre("a | b --- | --- | --- c"));
  EXPECT_THAT(segments_of(kMarkdown, "a | b\n---\nc\nd\n"), ElementsAre("a | b", "c d"));
}

TEST(MarkdownDocument, IndentedCodeInListsAndQuotesStays) {
  const auto stays = [](const std::string& before, const std::string& code, const std::string& after) {
    std::string capitals = before + "|" + after;
    for (char& c : capitals) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    capitals.replace(capitals.find('|'), 1, code);
    EXPECT_EQ(in_capitals(kMarkdown, before + code + after), capitals);
  };
  stays("- Save the file:\n\n", "      open the file\n", "\n  then\n");
  stays("1. Save\n\n", "       open the file\n\n       and this\n", "\n   then\n\n       \n2. more\n");
  stays("- a\n  - b\n\n", "        code\n", "\n    text\n\n  text\n");
  stays("-\ta\n\n", "\t\tcode\n", "\n\ttext\n");
  stays("> - a\n>\n", ">       code\n", ">\n>   text\n");
  stays("> a\n>\n", ">     code\n", ">\n> text\n");
  stays("-", "     code", "\n- a\n\n  b\n");
  stays("- a\n# b\n\n", "    code\n", "c\n");
  stays("- a  \nb\n\n  c\n\nd\n\n", "    code\n", "e\n");
  // Text that is deep, but not by four columns more than its item, or not behind an empty line.
  for (const std::string text :
       {"- a\n\n    b\n", "10. a\n\n    b\n\n  - c\n\n    d\n", "- a\n\n  - b\n\n     c\n",
        "-   a\n\n    b\n", "> - a\n>\n>   b\n", "- [ ] a\n\n  b\n", "- a\n  > b\n\n    c\n",
        "1. a\n\n   - b\n\n        c\n"})
    stays(text, "", "");
  EXPECT_THAT(segments_of(kMarkdown, "- a\n      b\n"), ElementsAre("a b"));
  EXPECT_THAT(segments_of(kMarkdown, "a  \n    b\n"), ElementsAre("a", "b"));
  EXPECT_THAT(segments_of(kMarkdown, "> a\nb\n\n> c\n> > d\n> e\n"), ElementsAre("a b", "c", "d e"));
  EXPECT_THAT(segments_of(kMarkdown, "a\n> b\n"), ElementsAre("a", "b"));
}

TEST(MarkdownDocument, MarksOfDeepListsAreText) {
  std::string deep;  // in time that its square would exceed by far
  for (int i = 0; i < 200'000; ++i) deep += "- ";
  const std::vector<std::string> segments = segments_of(kMarkdown, deep + "a");
  ASSERT_FALSE(segments.empty());
  EXPECT_TRUE(segments.back().ends_with("- a"));
  EXPECT_EQ(unchanged(kMarkdown, deep + "a"), deep + "a");
  EXPECT_THAT(segments_of(kMarkdown, "- - - a"), ElementsAre("a"));
}

TEST(MarkdownDocument, InlineMarkupMovesWithItsWords) {
  EXPECT_EQ(translated(kMarkdown, "I have a **red** [car](http://x.y/(a)).", "J'ai une voiture rouge.",
                       {{0, 0}, {2, 1}, {4, 2}, {3, 3}}),
            "J'ai une [voiture](http://x.y/(a)) **rouge**.");
  EXPECT_EQ(translated(kMarkdown, "Run `make *all*` now and ``a ` b`` too", "Los jetzt und auch",
                       {{0, 0}, {1, 1}, {2, 2}, {3, 3}}),
            "Los `make *all*` jetzt und ``a ` b`` auch");
  EXPECT_EQ(
      in_capitals(kMarkdown, "see <https://x.y>, ![an image](i.png) and <b>bold</b> ~~old~~ [a][b] x[^1]"),
      "SEE <https://x.y>, ![an image](i.png) AND <b>BOLD</b> ~~OLD~~ [A][b] X[^1]");
  EXPECT_EQ(in_capitals(kMarkdown, "***both*** **bold *it*** snake_case_name _em_ 2 * 3"),
            "***BOTH*** **BOLD *IT*** SNAKE_CASE_NAME _EM_ 2 \\* 3");
  EXPECT_EQ(in_capitals(kMarkdown, "**bold\nover lines** and [a\nlink](u)"),
            "**BOLD OVER LINES** AND [A LINK](u)");
}

TEST(MarkdownDocument, PointsThatTouchStayTogether) {
  EXPECT_EQ(
      translated(kMarkdown, "Click ![a](1)![b](2) to save", "Zum Sichern klicken", {{0, 2}, {1, 0}, {2, 1}}),
      "Zum Sichern klicken ![a](1)![b](2)");
  EXPECT_EQ(translated(kMarkdown, "Click `a`![b](2)<https://x.y> to save", "Zum Sichern klicken",
                       {{0, 2}, {1, 0}, {2, 1}}),
            "Zum Sichern klicken `a`![b](2)<https://x.y>");
}

TEST(MarkdownDocument, LinksByTheirTextStayLinks) {
  const std::string definition = "\n\n[The  Manual]: http://x/man\n";
  EXPECT_EQ(translated(kMarkdown, "See [the manual] for help." + definition, "Hilfe steht im Handbuch.",
                       {{0, 1}, {1, 2}, {2, 3}, {4, 0}}),
            "Hilfe steht [im Handbuch][The  Manual]." + definition);
  EXPECT_EQ(in_capitals(kMarkdown, "See [the\nmanual][] for help, [*the* manual]" + definition),
            "SEE [THE MANUAL][The  Manual] FOR HELP, [*THE* MANUAL]" + definition);
  EXPECT_EQ(
      in_capitals(kMarkdown, "> see [the\n> manual], [the manual](u), [the manual][the manual]" + definition),
      "> SEE [THE MANUAL][The  Manual], [THE MANUAL](u), [THE MANUAL][the manual]" + definition);
  EXPECT_EQ(in_capitals(kMarkdown, "see ![the manual] and ![the manual][], [a]" + definition),
            "SEE ![the manual] AND ![the manual][], [A]" + definition);
  EXPECT_EQ(
      in_capitals(kMarkdown, "> [a]: u\n\nsee [A] and [B]\n\n```\n[b]: u\n```\n[\u00c4]: v\n\n[\u00e4]\n"),
      "> [a]: u\n\nSEE [A][a] AND [B]\n\n```\n[b]: u\n```\n[\u00c4]: v\n\n[\u00e4]\n");
  EXPECT_EQ(translated(kMarkdown, "see [GitHub] now\n\n[GitHub]: u\n", "siehe GitHub jetzt",
                       {{0, 0}, {1, 1}, {2, 2}}),
            "siehe [GitHub] jetzt\n\n[GitHub]: u\n");
}

TEST(MarkdownDocument, AnEmphasisWithoutWordsIsLeftOut) {
  for (const std::string mark : {"*", "_", "**", "***", "~~"})
    EXPECT_EQ(translated(kMarkdown, "Please do " + mark + "save" + mark + " it", "", {}), "");
  const Links links = {{0, 0}, {2, 1}};
  EXPECT_EQ(translated(kMarkdown, "**one** *two* **three**", "eins drei", links), "**eins** **drei**");
  EXPECT_EQ(translated(kMarkdown, "**one** *two ~~too~~* **three**", "eins drei", {{0, 0}, {3, 1}}),
            "**eins** **drei**");
  EXPECT_EQ(translated(kMarkdown, "**one** *two `x`* **three**", "eins drei", links),
            "**eins** `x` **drei**");
  EXPECT_EQ(translated(kMarkdown, "**one** [two](u)<b>too</b> **three**", "eins drei", {{0, 0}, {2, 1}}),
            "**eins**[](u)<b></b> **drei**");
}

TEST(MarkdownDocument, TextIsEscaped) {
  EXPECT_THAT(segments_of(kMarkdown, "a \\* b \\_c &amp; d"), ElementsAre("a * b _c & d"));
  EXPECT_EQ(translated(kMarkdown, "x\n", "a*b [c] <d> `e` _f_ g_h | &amp;"),
            "a\\*b \\[c\\] \\<d> \\`e\\` \\_f\\_ g_h \\| \\&amp;\n");
  // What is markup together is seen in atoms apart, too.
  EXPECT_EQ(translated(kMarkdown, "**x** y", "X &amp; ~~Y~~", {{0, 0}}), "**X** \\&amp; \\~~Y\\~~");
}

TEST(MarkdownDocument, TextDoesNotBecomeTheMarkOfABlock) {
  for (const std::string line : {"\\# Save", "\\###### Save", "\\+ Save", "\\- Save", "\\- - Save",
                                 "1\\. Save", "123456789\\) Save", "\\> Save", "\\>> Save", "\\~\\~~ Save"}) {
    std::string capitals = line;
    capitals.replace(capitals.find("Save"), 4, "SAVE");
    EXPECT_EQ(in_capitals(kMarkdown, line), capitals);
    EXPECT_EQ(in_capitals(kMarkdown, "a\n\n> - " + line + "  \n" + line),
              "A\n\n> - " + capitals + "  \n" + capitals);
    EXPECT_EQ(
        in_capitals(kMarkdown, line + " *it* | x\n---|---\n" + line + "|" + line),
        capitals + " *IT* | X\n---|---\n" + capitals + "|" + in_capitals(kMarkdown, "| " + line).substr(2));
  }
  EXPECT_EQ(in_capitals(kMarkdown, "&gt; Save &#35; it"), "\\> SAVE # IT");
  EXPECT_EQ(in_capitals(kMarkdown, "[^1]: 1\\. save"), "[^1]: 1\\. SAVE");
  // Its words do not have to begin the line in the source.
  const Links links = {{0, 1}, {1, 0}};
  EXPECT_EQ(translated(kMarkdown, "Save **1.**", "1. Save", links), "**1.** Save");
  EXPECT_EQ(translated(kMarkdown, "*Save* 1)", "1) Save", links), "1\\) *Save*");
  EXPECT_EQ(translated(kMarkdown, "Save - *it*", "- it", {{1, 0}, {2, 1}}), "\\- *it*");
  for (const std::string text : {"---", "=", "===", "-"})
    EXPECT_EQ(translated(kMarkdown, "one  \ntwo\n", text), "\\" + text + "  \n\\" + text + "\n");
  // What is none stays as it is, and so does what is not at the beginning.
  for (const std::string text : {"#Save", "####### Save", "-5 Save", "-- Save", "+5", "1.5 Save",
                                 "1234567890. Save", "= Save", "Save # - + 1. > it", "~~ Save"})
    EXPECT_EQ(translated(kMarkdown, "x", text), text == "~~ Save" ? "\\~~ Save" : text);
  EXPECT_EQ(translated(kMarkdown, "# x", "1. Save"), "# 1. Save");
  EXPECT_EQ(translated(kMarkdown, "**x**", "1. Save"), "**1. Save**");
  EXPECT_EQ(translated(kMarkdown, "| x |", "1. Save"), "| 1. Save |");
}

TEST(MarkdownDocument, WhatIsBrokenSurvives) {
  for (const std::string page : {"**open",
                                 "`open",
                                 "[a](b",
                                 "![x",
                                 "<b",
                                 "```\nno end",
                                 "---\nno end",
                                 "| a | b",
                                 "\\",
                                 "[",
                                 "](",
                                 "> ",
                                 "- ",
                                 "#",
                                 "# ",
                                 "a\\",
                                 "<!-- x\n\ny",
                                 "<a\n> b",
                                 "[^1]:",
                                 "[x]: y",
                                 "|",
                                 "| \\",
                                 "~~~\r\nx\r\n~~~\r\ny"})
    EXPECT_EQ(unchanged(kMarkdown, page), page);
  EXPECT_EQ(in_capitals(kMarkdown, "~~~\r\nx\r\n~~~\r\ny"), "~~~\r\nx\r\n~~~\r\nY");
  EXPECT_EQ(in_capitals(kMarkdown, "an **open one"), "AN **OPEN ONE");
}

TEST(MarkdownDocument, TakesLinearWork) {
  for (const char* const piece : {"[",
                                  "](",
                                  "`a``",
                                  "*a _b ",
                                  "<a ",
                                  "![",
                                  "> ",
                                  "- ",
                                  "\\",
                                  "< ",
                                  "a|b\n-|-\n",
                                  "|",
                                  "- a\n\n      b\n",
                                  "> ```\n",
                                  "<!-- -->\n",
                                  "<p>\n \n",
                                  "[a]: b\n[a] ",
                                  "![a][] ",
                                  "1. > ",
                                  "      \n"}) {
    std::string page = "a ";
    while (page.size() < 200'000) page += piece;
    EXPECT_EQ(unchanged(kMarkdown, page), page);
    static_cast<void>(in_capitals(kMarkdown, page));
  }
  std::string opened, closed;
  for (int i = 0; i < 200'000; ++i) opened += "*1 ", closed += "]";
  EXPECT_EQ(unchanged(kMarkdown, opened + closed), opened + closed);
}

TEST(MarkdownDocument, MarkupThatIsTooDeepSurvives) {
  std::string page = "x ", closed;
  for (int i = 0; i < 40; ++i) page += "[*a ", closed += "*](u)";
  page += closed;
  EXPECT_EQ(unchanged(kMarkdown, page), page);
  EXPECT_EQ(std::ranges::count(in_capitals(kMarkdown, page), '['), 40);
}

TEST(MarkdownDocument, ALinkByItsTextIsLeftWithItsLabel) {
  EXPECT_EQ(
      in_capitals(kMarkdown,
                  "## [unreleased]\n\n- [the manual]\n\n[unreleased]: https://x.org\n[the manual]: y\n"),
      "## [UNRELEASED][unreleased]\n\n- [THE MANUAL][the manual]\n\n[unreleased]: https://x.org\n[the "
      "manual]: y\n");
}

TEST(MarkdownDocument, HtmlInItemsAndQuotesEndsWithThem) {
  EXPECT_THAT(segments_of(kMarkdown, "1. <div>Open\n2. Click\n3. Close"),
              ElementsAre("Open", "Click", "Close"));
  const std::string quote = "> <details>\n> <summary>Open</summary>\n> Click\n> </details>\n";
  EXPECT_THAT(segments_of(kMarkdown, quote), ElementsAre("Open", "Click"));
  EXPECT_EQ(unchanged(kMarkdown, quote), quote);
}

TEST(MarkdownDocument, ABreakBeginsNoBlockOfHtml) {
  EXPECT_EQ(in_capitals(kMarkdown, "<br>click **the** button\n"), "<br>CLICK **THE** BUTTON\n");
}

TEST(MarkdownDocument, ADefinitionHasAnAddress) {
  EXPECT_THAT(segments_of(kMarkdown, "[Warning]: do not delete it.\n\n[a]: <b c> \"title\"\n[d]: e (f)\n"),
              ElementsAre("Warning: do not delete it."));
  EXPECT_EQ(in_capitals(kMarkdown, "[Warning]: do not\n"), "[WARNING]: DO NOT\n");
  EXPECT_THAT(segments_of(kMarkdown, "Text before.\n[Name]: address\n"),
              ElementsAre("Text before. Name: address"));
  EXPECT_THAT(segments_of(kMarkdown, "Text[^1]\n[^1]: A note\n"), ElementsAre("Text", "A note"));
}

TEST(MarkdownDocument, AlertsStay) {
  EXPECT_EQ(in_capitals(kMarkdown, "> [!NOTE]\n> click\n\n[!NOTE]\nno\n"),
            "> [!NOTE]\n> CLICK\n\n[!NOTE] NO\n");
}

TEST(MarkdownDocument, ItemsWithoutText) {
  EXPECT_THAT(segments_of(kMarkdown, "1. Open\n2.\n3.\n\n+ Click\n+\n+ Close\n"),
              ElementsAre("Open", "Click", "Close"));
  EXPECT_THAT(segments_of(kMarkdown, "in\n1986.\n+\nyes"), ElementsAre("in 1986. + yes"));
  EXPECT_THAT(segments_of(kMarkdown, "-\n  Open\n-\n\n  Close\n"), ElementsAre("Open", "Close"));
}

TEST(MarkdownDocument, ARuleAtTheBeginningIsNoFrontMatter) {
  EXPECT_THAT(segments_of(kMarkdown, "---\n\nOpen\n\n---\n\nClose\n"), ElementsAre("Open", "Close"));
  EXPECT_THAT(segments_of(kMarkdown, "---\na: b\n---x: y\n---\nClose\n"), ElementsAre("Close"));
  EXPECT_THAT(segments_of(kMarkdown, "---\r\na: b\r\n---\r\nClose\r\n"), ElementsAre("Close"));
}

TEST(MarkdownDocument, ThreeStarsEndApart) {
  for (const std::string text :
       {"***open it* now** please", "***open it** now* please", "***open it*** please",
        "**open *it*** please", "___open it_ now__ please"}) {
    std::string capitals = text;
    for (char& c : capitals) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    EXPECT_EQ(segments_of(kMarkdown, text).at(0).find_first_of("*_"), std::string::npos) << text;
    EXPECT_EQ(in_capitals(kMarkdown, text), capitals);
  }
}

TEST(MarkdownDocument, ATitleMayHoldBrackets) {
  EXPECT_EQ(in_capitals(kMarkdown, "[link](https://e.com \"open (the) file) now\") end\n"),
            "[LINK](https://e.com \"open (the) file) now\") END\n");
  EXPECT_EQ(in_capitals(kMarkdown, "[link](a 'b) end\n"), "[LINK](a 'b) END\n");
}

}  // namespace
}  // namespace chorus
