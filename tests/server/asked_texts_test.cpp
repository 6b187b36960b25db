#include "server/asked_texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace chorus {
namespace {

using testing::ElementsAre;

TranslatedLine made_of(const std::vector<std::string>& texts) {
  TranslatedLine line;
  for (const std::string& text : texts) line.best.push_back({.text = text});
  return line;
}

TEST(AskedTexts, KeepWhatIsBetweenTheLines) {
  const std::vector<std::string> texts = {"one", "", " \n\n  two\t\r\nthree \n",
                                          "\xE3\x80\x80"
                                          "four\n\n",
                                          "\n"};
  const AskedTexts lines(texts, DocumentFormat::text, {});
  std::vector<TranslatedLine> translated;
  std::vector<std::string> found;
  for (const SourceLine& line : lines.lines()) {
    found.push_back(line.text);
    translated.push_back(made_of({"<" + line.text + ">"}));
  }
  EXPECT_THAT(found, ElementsAre("one", "two", "three", "four"));
  EXPECT_EQ(lines.lines()[2].where, "text 3, part 2");
  EXPECT_THAT(lines.texts(translated),
              ElementsAre(ElementsAre("<one>"), ElementsAre(""), ElementsAre(" \n\n  <two>\t\r\n<three> \n"),
                          ElementsAre("\xE3\x80\x80"
                                      "<four>\n\n"),
                          ElementsAre("\n")));
}

TEST(AskedTexts, MakeAlternativesOfThoseOfEachLine) {
  const AskedTexts lines(std::vector<std::string>{"a\nb", "c"}, DocumentFormat::text, {});
  EXPECT_THAT(lines.texts(std::vector{made_of({"1", "2", "3"}), made_of({"4", "5"}), made_of({"6"})}),
              ElementsAre(ElementsAre("1\n4", "2\n5", "3\n5"), ElementsAre("6")));
}

TEST(AskedTexts, KeepALineThatHasNoTranslation) {
  const AskedTexts lines(std::vector<std::string>{"a\n zz \nb"}, DocumentFormat::text, {});
  EXPECT_THAT(lines.texts(std::vector{made_of({"1", "2"}), made_of({"", "x"}), made_of({"3", ""})}),
              ElementsAre(ElementsAre("1\n zz \n3", "2\n zz \n")));
}

TEST(AskedTexts, KeepTags) {
  const AskedTexts lines(std::vector<std::string>{"<p>one</p>", "<p>a <b>b</b></p><pre>c</pre>"},
                         DocumentFormat::html, {});
  ASSERT_EQ(lines.lines().size(), 2U);
  EXPECT_EQ(lines.lines()[1].text, "a b");
  EXPECT_TRUE(lines.has_markup());
  TranslatedLine linked = made_of({"B A"});
  linked.best[0].links = {{0, 1}, {1, 0}};
  EXPECT_THAT(lines.texts(std::vector{made_of({"ONE"}), linked}),
              ElementsAre(ElementsAre("<p>ONE</p>"), ElementsAre("<p><b>B</b> A</p><pre>c</pre>")));
}

}  // namespace
}  // namespace chorus
