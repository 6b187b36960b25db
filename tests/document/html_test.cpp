#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "document/document.h"
#include "document/documents.h"

namespace chorus {
namespace {

using testing::ElementsAre;

constexpr auto kHtml = DocumentFormat::html;

TEST(HtmlDocument, BlocksCutAndTheirTagsStay) {
  const std::string page =
      "<!DOCTYPE html>\n<html lang='en'><head><title>The  page &amp; more</title>\n"
      "<style>p > b { color: red }</style></head>\n<body>\n<h1 class=\"a>b\">Head</h1>\n"
      "<p>First\n  line<br>second "
      "line\n<ul><li>one<li>two</ul>\n<table><tr><td>cell</td><td>42</td></tr></table>"
      "</body></html>\n";
  EXPECT_THAT(segments_of(kHtml, page),
              ElementsAre("The page & more", "Head", "First line", "second line", "one", "two", "cell"));
  EXPECT_EQ(unchanged(kHtml, page), page);
  EXPECT_EQ(in_capitals(kHtml, page),
            "<!DOCTYPE html>\n<html lang='en'><head><title>THE PAGE &amp; MORE</title>\n"
            "<style>p > b { color: red }</style></head>\n<body>\n<h1 class=\"a>b\">HEAD</h1>\n"
            "<p>FIRST LINE<br>SECOND "
            "LINE\n<ul><li>ONE<li>TWO</ul>\n<table><tr><td>CELL</td><td>42</td></tr></table>"
            "</body></html>\n");
}

TEST(HtmlDocument, AnotherEncodingThanUtf8GetsReferences) {
  const std::string page = "<head><META charset='ISO-8859-1'></head><p>Open</p>";
  EXPECT_EQ(translated(kHtml, page, "Öffnen €"),
            "<head><META charset='ISO-8859-1'></head><p>&#214;ffnen &#8364;</p>");
  for (const char* head :
       {"<meta charset=\"UTF-8\">", "<meta http-equiv=Content-Type content='text/html; charset=utf-8'>", ""})
    EXPECT_EQ(translated(kHtml, head + std::string("<p>Open</p>"), "Ö"), head + std::string("<p>Ö</p>"));
  const std::string form = "<form accept-charset='latin1'><p>";
  EXPECT_EQ(translated(kHtml, form + "Open</p>", "Ö"), form + "Ö</p>");
  EXPECT_EQ(translated(kHtml, "<meta charset=latin1><p>ü</p>", "Ö"), "<meta charset=latin1><p>Ö</p>")
      << "which is in UTF-8, whatever it says";
}

TEST(HtmlDocument, MarksStayAroundPlaceholders) {
  const Links one = {{0, 0}, {1, 1}, {2, 2}, {3, 3}};
  EXPECT_EQ(translated(kHtml, "<p>Open <b>{0}</b>, then close.</p>", "Öffnen {0}, dann schließen.", one),
            "<p>Öffnen <b>{0}</b>, dann schließen.</p>");
  EXPECT_EQ(translated(kHtml, "<p>See (<b>${A}</b>) here</p>", "Sehen (${A}), da", {{0, 0}, {1, 1}, {2, 2}}),
            "<p>Sehen (<b>${A}</b>), da</p>");
  EXPECT_EQ(translated(kHtml, "<p>In \"<b>{0}</b>\"</p>", "In „{0}“", {{0, 0}, {1, 1}}),
            "<p>In „<b>{0}</b>“</p>");
}

TEST(HtmlDocument, WhatIsNotToBeTranslatedIsNotSeen) {
  for (const std::string kept :
       {"<script>if (a<b) document.write('<p>text</p>')</script>", "<pre>some text</pre>",
        "<p translate=\"no\">text</p>", "<div class='x notranslate'>a <div>b</div> c</div>",
        "<!-- a comment -->", "<textarea>text</textarea>", "<svg><text>x</text></svg>",
        "<p TRANSLATE=NO>text", "<?php echo '>'; ?>", "<code>x</code>", "<style>a</style>",
        "<![CDATA[text]]>", "&lt;1&gt;"}) {
    EXPECT_THAT(segments_of(kHtml, kept), ElementsAre()) << kept;
    EXPECT_EQ(in_capitals(kHtml, "<p>before</p>" + kept + "<p>after</p>"),
              "<p>BEFORE</p>" + kept + "<p>AFTER</p>");
  }
}

TEST(HtmlDocument, CodeInsideOfASentenceMovesWithItsNeighbours) {
  const std::string line = "<p>Run <code>make all</code> now.</p>";
  EXPECT_THAT(segments_of(kHtml, line), ElementsAre("Run now."));
  EXPECT_EQ(translated(kHtml, line, "Jetzt ausf\u00fchren.", {{1, 0}, {0, 1}}),
            "<p>Jetzt ausf\u00fchren <code>make all</code>.</p>");
  EXPECT_EQ(translated(kHtml, line, "Lancez maintenant.", {{0, 0}, {1, 1}}),
            "<p>Lancez <code>make all</code> maintenant.</p>");
  EXPECT_EQ(
      translated(kHtml, "<p>Press <kbd>X</kbd>, please</p>", "Dr\u00fccke, bitte", {{0, 0}, {1, 0}, {2, 1}}),
      "<p>Dr\u00fccke <kbd>X</kbd>, bitte</p>");
}

TEST(HtmlDocument, PointsThatTouchStayTogether) {
  const Links links = {{0, 0}, {0, 1}, {1, 2}, {2, 5}, {3, 3}, {4, 4}};
  const auto pressed = [&](const std::string& keys) {
    return translated(kHtml, "<p>Press " + keys + " to save the file.</p>",
                      "Klicken Sie, um die Datei zu speichern.", links);
  };
  for (const std::string keys :
       {"<kbd>Ctrl</kbd><kbd>S</kbd>", "<code>a</code><b><code>b</code></b>", "<img src=a><img src=b>",
        "<kbd>a</kbd><!-- x --><kbd>b</kbd><wbr><kbd>c</kbd>", "<i><img src=a></i><kbd>b</kbd></u>"}) {
    EXPECT_EQ(pressed(keys), "<p>Klicken Sie " + keys + ", um die Datei zu speichern.</p>");
  }
  EXPECT_EQ(translated(kHtml, "<p>Save <img src=a><img src=b> the file</p>", "Die Datei sichern",
                       {{0, 2}, {1, 0}, {2, 1}}),
            "<p>Die Datei sichern <img src=a><img src=b></p>");
  EXPECT_EQ(translated(kHtml, "<p>Save <img src=a><img src=b>the file</p>", "Die Datei sichern",
                       {{0, 2}, {1, 0}, {2, 1}}),
            "<p><img src=a><img src=b>Die Datei sichern</p>");
}

TEST(HtmlDocument, APointAtTheEndOfAnElementStaysThere) {
  const auto written = [](const std::string& element) {
    return translated(kHtml, "<p>Press " + element + " now</p>", "Jetzt sehr gut dr\u00fccken",
                      {{0, 3}, {1, 1}, {2, 2}, {3, 0}});
  };
  for (const std::string element : {"<b><code>a</code>very good</b>", "<b><code>a</code> very good</b>",
                                    "<b>very good<code>a</code></b>", "<b>very good <code>a</code></b>"}) {
    std::string german = element;
    german.replace(german.find("very good"), 9, "sehr gut");
    EXPECT_EQ(written(element), "<p>Jetzt " + german + " dr\u00fccken</p>");
  }
  const Links in_order = {{0, 0}, {1, 1}, {2, 2}};
  EXPECT_EQ(translated(kHtml, "<p>see <b>the <code>a</code></b>.</p>", "siehe das .", in_order),
            "<p>siehe <b>das <code>a</code></b>.</p>");
}

TEST(HtmlDocument, ReferencesAreTextAndTextIsEscaped) {
  const std::string line =
      "<p>&Eacute;t&eacute; &#233;&#xE9; a&nbsp;b &lt;tag&gt; AT&T &unknown; end&nbsp;</p>";
  EXPECT_THAT(segments_of(kHtml, line), ElementsAre("\u00c9t\u00e9 \u00e9\u00e9 a b <tag> AT&T end"));
  EXPECT_EQ(unchanged(kHtml, line), line);
  EXPECT_EQ(translated(kHtml, "<p>x &amp; y</p>", "a < b & \"c\" > d"), "<p>a &lt; b &amp; \"c\" &gt; d</p>");
  EXPECT_THAT(segments_of(kHtml, "&yuml;&Omega;&omega;&bdquo;&hellip;&trade;&rarr;x&rlm;"),
              ElementsAre("\u00ff\u03a9\u03c9\u201e\u2026\u2122\u2192x\u200f"));
  EXPECT_THAT(segments_of(kHtml, "a&#0;&#xD800;&#x110000;&#99999999999;&;&#;b"), ElementsAre("a&;b"));
}

TEST(HtmlDocument, InlineElementsMoveWithTheirWords) {
  const std::string line = "<p>I have a <b>red</b> <a href=\"/c?a=1&amp;b\">car</a>.</p>";
  EXPECT_THAT(segments_of(kHtml, line), ElementsAre("I have a red car."));
  EXPECT_EQ(translated(kHtml, line, "J'ai une voiture rouge.", {{0, 0}, {2, 1}, {4, 2}, {3, 3}}),
            "<p>J'ai une <a href=\"/c?a=1&amp;b\">voiture</a> <b>rouge</b>.</p>");
  EXPECT_EQ(translated(kHtml, line, "Ich habe ein rotes Auto.", {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}}),
            "<p>Ich habe ein <b>rotes</b> <a href=\"/c?a=1&amp;b\">Auto</a>.</p>");
}

TEST(HtmlDocument, WithoutLinksElementsGoByProportion) {
  EXPECT_EQ(translated(kHtml, "<p>I have a <b>red</b> car.</p>", "Ich habe ein rotes Auto."),
            "<p>Ich habe ein <b>rotes</b> Auto.</p>");
  EXPECT_EQ(translated(kHtml, "<p><i>Hello</i>, world</p>", "Hallo, Welt"), "<p><i>Hallo</i>, Welt</p>");
  EXPECT_EQ(translated(kHtml, "<p>one <b>two</b> three</p>", "eins"), "<p><b>eins</b></p>");
}

TEST(HtmlDocument, AnElementWhoseWordsAreLostIsNot) {
  const std::string line = "<p>See <a href=x>there</a>, <b>please</b>.</p>";
  EXPECT_EQ(translated(kHtml, line, "Schau bitte.", {{0, 0}, {2, 1}}),
            "<p><a href=x>Schau</a> <b>bitte</b>.</p>");
  EXPECT_EQ(translated(kHtml, line, "Bitte.", {{2, 0}}), "<p><a href=x></a><b>Bitte</b>.</p>");
  EXPECT_EQ(translated(kHtml, line, ""), "<p><a href=x></a><b></b></p>");
}

TEST(HtmlDocument, ScriptsWithoutSpacesAreCutIntoWords) {
  const char* const chinese = "<p>\u6211<b>\u975e\u5e38\u559c\u6b22</b>\u7eff\u8336</p>";
  EXPECT_EQ(translated(kHtml, "<p>I like <b>green tea</b> very much</p>",
                       "\u6211\u975e\u5e38\u559c\u6b22\u7eff\u8336"),
            chinese);
  // A link says nothing where all is one word.
  EXPECT_EQ(translated(kHtml, "<p>I like <b>green tea</b> very much</p>",
                       "\u6211\u975e\u5e38\u559c\u6b22\u7eff\u8336", {{0, 0}}),
            chinese);
  EXPECT_EQ(
      translated(kHtml, "<p><b>\u6211</b>\u559c\u6b22\u8336</p>", "I like tea", {{0, 0}, {0, 1}, {0, 2}}),
      "<p><b>I</b> like tea</p>");
}

TEST(HtmlDocument, PartsOfWords) {
  EXPECT_EQ(translated(kHtml, "<p>H<sub>2</sub>O is wet</p>", "H2O ist nass", {{0, 0}, {1, 1}, {2, 2}}),
            "<p>H<sub>2</sub>O ist nass</p>");
  EXPECT_EQ(translated(kHtml, "<p>un<b>believ</b>able</p>", "incroyable", {{0, 0}}),
            "<p><b>incroyable</b></p>");
}

TEST(HtmlDocument, NestingIsKept) {
  EXPECT_EQ(translated(kHtml, "<p>a <i>very <b>big</b> old</i> house</p>",
                       "une maison tr\u00e8s grande vieille", {{0, 0}, {4, 1}, {1, 2}, {2, 3}, {3, 4}}),
            "<p>une maison <i>tr\u00e8s <b>grande</b> vieille</i></p>");
  // A word that is far from the others does not stretch an element over what lies between.
  EXPECT_EQ(translated(kHtml, "<p><b>x y</b> c d e f</p>", "X Y C D E F",
                       {{0, 0}, {1, 1}, {2, 2}, {3, 3}, {4, 4}, {0, 5}}),
            "<p><b>X Y</b> C D E F</p>");
}

TEST(HtmlDocument, WhatIsAroundAWholeSegmentStaysThere) {
  const std::string line = "<p> <b><a name=x></a>All <i>of</i> it.</b> <img src=i> </p>";
  EXPECT_EQ(translated(kHtml, line, "Alles.", {{0, 0}, {2, 0}}),
            "<p> <b><a name=x></a><i>Alles</i>.</b> <img src=i> </p>");
}

TEST(HtmlDocument, BrokenMarkupSurvives) {
  for (const std::string page : {"a</b> b",
                                 "<b>a <i>b</b> c</i>",
                                 "<p>text <b>bold<p>next</b> x",
                                 "a <",
                                 "a < b <3 c",
                                 "a <b",
                                 "a <b href='",
                                 "text <!-- no end",
                                 "<script>x",
                                 "<code>x <p>y",
                                 "</p></p>a</div>",
                                 "a<b/>c",
                                 "<a<b>c</a>",
                                 "<>a</>",
                                 "a&#;b&",
                                 "<title>x",
                                 "<p translate=no>x<div>y</div>",
                                 "a <![CDATA[x",
                                 "<!-->a",
                                 "<!--->b"}) {
    EXPECT_EQ(unchanged(kHtml, page), page);
    const std::string again = in_capitals(kHtml, page);
    for (const char* const tag : {"<b>", "</b>", "<i>", "</i>", "<p>", "<code>"})
      EXPECT_EQ(page.find(tag) == std::string::npos, again.find(tag) == std::string::npos)
          << page << " -> " << again;
  }
  EXPECT_EQ(in_capitals(kHtml, "<p>text <b>bold<p>next</b> x"), "<p>TEXT <b>BOLD<p>NEXT</b> X");
  EXPECT_EQ(in_capitals(kHtml, "a < b <3 c"), "A &lt; B &lt;3 C");
}

TEST(HtmlDocument, TextWithoutSpacesTakesLinearWork) {
  std::string page = "<p>";
  while (page.size() < 8'000'000) page += "\u6211";
  EXPECT_EQ(unchanged(kHtml, page), page);
}

TEST(HtmlDocument, KeptElementsEndWhereHtmlLetsThem) {
  EXPECT_THAT(segments_of(kHtml, "<ul><li class=\"notranslate\">Chorus<li>Open</ul><p>Click</p>"),
              ElementsAre("Open", "Click"));
  EXPECT_THAT(segments_of(kHtml, "<ul><li translate=no>x<ul><li>y</ul>z</ul><p>Click</p>"),
              ElementsAre("Click"));
  EXPECT_THAT(segments_of(kHtml, "<table><tr><td translate=no>X<td>Open</table><p>Click</p>"),
              ElementsAre("Open", "Click"));
  EXPECT_THAT(
      segments_of(kHtml, "<table><tr><td translate=no><table><tr><td>x</table>y</tr><tr><td>Open</table>"),
      ElementsAre("Open"));
  EXPECT_THAT(segments_of(kHtml, "<dl><dt class=notranslate>X<dd>Open</dl>Click"),
              ElementsAre("Open", "Click"));
  EXPECT_THAT(segments_of(kHtml, "<select><option translate=no>x<option>Open</select>"), ElementsAre("Open"));
  EXPECT_THAT(segments_of(kHtml, "<li translate=no>x</li>Open"), ElementsAre("Open"));
}

TEST(HtmlDocument, AWordThatMovesBehindAPointStaysApart) {
  EXPECT_EQ(translated(kHtml, "You should not delete <code>a.odt</code>!", "Sie sollten nicht entfernen!",
                       {{0, 0}, {1, 1}, {2, 2}, {3, 3}}),
            "Sie sollten nicht entfernen <code>a.odt</code>!");
  const std::string moved = translated(kHtml, "never delete <img src=x>!", "nie den hier entfernen!",
                                       {{0, 0}, {1, 1}, {0, 2}, {0, 3}});
  EXPECT_EQ(moved.find(">e"), std::string::npos) << moved;
  EXPECT_EQ(moved.find(">h"), std::string::npos) << moved;
}

TEST(HtmlDocument, APageSaysItsLanguage) {
  const auto written = [](const std::string& page, const DocumentLanguages& languages,
                          const std::string& text) {
    return Document(kHtml, page, languages).write(std::vector<TranslatedSegment>{{text}});
  };
  const std::string page = "<!DOCTYPE html>\n<!-- a --><html class=x lang='en-US'><p lang=en>Open</p>";
  EXPECT_EQ(written(page, {"en", "de"}, "x"),
            "<!DOCTYPE html>\n<!-- a --><html class=x lang='de'><p lang=en>x</p>");
  EXPECT_EQ(written(page, {"eng_Latn", "zho_Hant"}, "x"),
            "<!DOCTYPE html>\n<!-- a --><html class=x lang='zh-Hant'><p lang=en>x</p>");
  EXPECT_EQ(written(page, {"en", "de"}, "Open"), page) << "nothing was translated";
  const std::string same = "<!DOCTYPE html>\n<!-- a --><html class=x lang='en-US'><p lang=en>x</p>";
  EXPECT_EQ(written(page, {"fr", "de"}, "x"), same);
  EXPECT_EQ(written(page, {}, "x"), same);
  EXPECT_EQ(written("<p lang=en>Open</p>", {"en", "de"}, "x"), "<p lang=en>x</p>");
  EXPECT_EQ(written("<html><p>Open</p>", {"en", "de"}, "x"), "<html><p>x</p>");
  EXPECT_EQ(written("Open<html lang=en>", {"en", "de"}, "x"), "x<html lang=en>");
  EXPECT_EQ(written("\xEF\xBB\xBF <html lang=en>Open", {"en", "de"}, "x"), "\xEF\xBB\xBF <html lang=de>x");
}

}  // namespace
}  // namespace chorus
