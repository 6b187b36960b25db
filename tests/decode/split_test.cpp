#include "decode/internal/split.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/utf8.h"

namespace chorus {
namespace {

std::vector<std::string> parts(std::string_view text, size_t most_bytes) {
  std::vector<std::string> texts;
  for (const TextPart& part :
       split_text(text, {}, [&](std::string_view t) { return t.size() <= most_bytes; }))
    texts.push_back(fmt::format("{}{}", part.before.empty() ? "" : "_", part.text));
  return texts;
}

using Parts = std::vector<std::string>;

TEST(Split, LeavesShortTextAlone) {
  EXPECT_EQ(parts("One. Two.", 9), Parts({"One. Two."}));
  EXPECT_EQ(parts("  One. Two.  ", 9), Parts({"One. Two."}));
  EXPECT_EQ(parts("", 9), Parts());
  EXPECT_EQ(parts(" \t ", 9), Parts());
}

TEST(Split, CutsBetweenSentencesFirst) {
  EXPECT_EQ(parts("A cat sat here. It was not my own cat.", 30),
            Parts({"A cat sat here.", "_It was not my own cat."}));
  EXPECT_EQ(parts("猫が座った。私の猫ではない。", 30), Parts({"猫が座った。", "私の猫ではない。"}));
}

TEST(Split, ThenBetweenWordsThenAnywhere) {
  EXPECT_EQ(parts("one two three four", 10), Parts({"one two", "_three four"}));
  EXPECT_EQ(parts("abcdefgh", 4), Parts({"abcd", "efgh"}));
  EXPECT_EQ(parts("a bbbbbbbbbbbbbbbb", 16), Parts({"a", "_bbbbbbbbbbbbbbbb"}));
}

TEST(Split, NeverCutsACharacter) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "ü😀";
  std::string joined;
  for (const std::string& part : parts(text, 7)) {
    EXPECT_TRUE(is_valid_utf8(part));
    EXPECT_LE(part.size(), 7U);
    joined += part;
  }
  EXPECT_EQ(joined, text);
  EXPECT_EQ(parts("😀", 1), Parts({"😀"})) << "does not fit and cannot be cut";
}

Parts sentences_of(const std::string& language, std::string_view text) {
  Parts texts;
  for (const TextPart& part : SentenceSplitter(language).split(text))
    texts.push_back(fmt::format("{}[{}]", part.before, part.text));
  return texts;
}

TEST(SentenceSplitter, FindsSentencesAndKeepsWhatIsBetween) {
  EXPECT_EQ(sentences_of("en", "  One two.  Three?\tFour!\u00a0Five "),
            Parts({"[One two.]", "  [Three?]", "\t[Four!]", "\u00a0[Five]"}));
  EXPECT_EQ(sentences_of("zho_Hans", "你好。再见！"), Parts({"[你好。]", "[再见！]"}));
  EXPECT_EQ(sentences_of("xx", "No end"), Parts({"[No end]"}));
  EXPECT_EQ(sentences_of("", " \u3000"), Parts());
  EXPECT_EQ(sentences_of("en", ""), Parts());
}

TEST(SentenceSplitter, KnowsAbbreviationsOfTheLanguageByAnyCode) {
  for (const char* english : {"en", "eng_Latn", "EN", "en-GB"})
    EXPECT_EQ(sentences_of(english, "Mr. Smith left. He did."), Parts({"[Mr. Smith left.]", " [He did.]"}));
  EXPECT_EQ(sentences_of("deu_Latn", "Dr. Paulus war, z. B. hier. Nur dort."),
            Parts({"[Dr. Paulus war, z. B. hier.]", " [Nur dort.]"}));
  EXPECT_EQ(sentences_of("xx", "Mr. Smith left."), Parts({"[Mr.]", " [Smith left.]"}));
}

TEST(SentenceSplitter, EndsNoSentenceInsideOfAWord) {
  for (const char* one :
       {"Open http://x.org/a?b=c now.", "Call foo!bar() or 5?6, a!=b.", ".NET and Node.js are used.",
        "Yahoo!Mail", "Yahoo!’s profits rose.", "The “Go!”b is.", "Call foo!(bar) now.",
        "Use println!(\"x\") here.", "x.[1] The", "He (who?)s", "\"a!\"b"})
    EXPECT_EQ(sentences_of("en", one), Parts({fmt::format("[{}]", one)}));
  EXPECT_EQ(sentences_of("en", "\"Go!\" He went."), Parts({"[\"Go!\"]", " [He went.]"}));
  EXPECT_EQ(sentences_of("zh", "好!真的？是"), Parts({"[好!]", "[真的？]", "[是]"}));
  EXPECT_EQ(sentences_of("zh", "他说好!2020年来了。"), Parts({"[他说好!]", "[2020年来了。]"}));
}

TEST(SentenceSplitter, EndsNoSentenceInsideOfAPhrase) {
  const std::string text = "New York. City is. Here";
  std::vector<std::string> parts;
  const std::vector<std::string_view> phrases = {std::string_view(text).substr(4, 10)};  // "York. City"
  for (const TextPart& part : SentenceSplitter("en").split(text, phrases)) parts.emplace_back(part.text);
  EXPECT_EQ(parts, (std::vector<std::string>{"New York. City is.", "Here"}));
}

TEST(Split, KeepsPhrasesWhole) {
  const std::string text = "a bb cc dd ee ff";
  const std::vector<std::string_view> phrases = {std::string_view(text).substr(5, 8)};  // "cc dd ee"
  std::vector<std::string> parts;
  for (const TextPart& part : split_text(text, phrases, [](std::string_view t) { return t.size() <= 4; }))
    parts.emplace_back(part.text);
  EXPECT_EQ(parts, (std::vector<std::string>{"a bb", "cc dd ee", "ff"}));
}

TEST(SentenceSplitter, EndsSentencesWhereParagraphsEnd) {
  EXPECT_EQ(sentences_of("de", "A.\u2029B. und\rso \u0085\u2028 fort\f"),
            Parts({"[A.]", "\u2029[B. und]", "\r[so]", " \u0085\u2028 [fort]"}));
}

TEST(EndsWide, LooksAtTheLastCharacter) {
  for (const char* wide : {"你", "a。", "！", "｡", "가"}) EXPECT_TRUE(ends_wide(wide)) << wide;
  for (const char* narrow : {"", "a", "你.", "é", "؟"}) EXPECT_FALSE(ends_wide(narrow)) << narrow;
}

TEST(Split, TakesLongText) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += i % 17 == 0 ? "end. " : "word ";
  size_t words = 0;
  for (const std::string& part : parts(text, 64)) words += std::count(part.begin(), part.end(), ' ') + 1;
  EXPECT_EQ(words, 20000U);
}

}  // namespace
}  // namespace chorus
