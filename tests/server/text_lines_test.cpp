#include "server/text_lines.h"

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

TEST(TextLines, KeepsWhatIsBetweenThem) {
  const std::vector<std::string> texts = {"one", "", " \n\n  two\t\r\nthree \n",
                                          "\xE3\x80\x80"
                                          "four\n\n",
                                          "\n"};
  const TextLines lines(texts);
  std::vector<TranslatedLine> translated;
  std::vector<std::string> found;
  for (const SourceLine& line : lines.lines()) {
    found.push_back(line.text);
    translated.push_back(made_of({"<" + line.text + ">"}));
  }
  EXPECT_THAT(found, ElementsAre("one", "two", "three", "four"));
  EXPECT_EQ(lines.lines()[2].where, "text 3, line 4");
  EXPECT_THAT(lines.texts(translated),
              ElementsAre(ElementsAre("<one>"), ElementsAre(""), ElementsAre(" \n\n  <two>\t\r\n<three> \n"),
                          ElementsAre("\xE3\x80\x80"
                                      "<four>\n\n"),
                          ElementsAre("\n")));
}

TEST(TextLines, MakesAlternativesOfThoseOfEachLine) {
  const TextLines lines(std::vector<std::string>{"a\nb", "c"});
  EXPECT_THAT(lines.texts(std::vector{made_of({"1", "2", "3"}), made_of({"4", "5"}), made_of({"6"})}),
              ElementsAre(ElementsAre("1\n4", "2\n5", "3\n5"), ElementsAre("6")));
}

}  // namespace
}  // namespace chorus
