#include "decode/terms.h"

#include "decode/small_model.h"
#include "temporary_folder.h"

#include "decode/internal/required.h"

namespace chorus {
namespace {

std::vector<std::string> found(const RequiredText& required, const std::string& text) {
  std::vector<std::string> texts;
  for (const RequiredText::Phrase& phrase : required.find(small_vocabulary(), text, "in:1"))
    texts.push_back(small_vocabulary().decode(phrase.pieces));
  return texts;
}

using Texts = std::vector<std::string>;

TEST(ReadTerms, TakesTwoCells) {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& text) {
    write_text(folder / "terms.tsv", text);
    return read_terms(folder / "terms.tsv");
  };
  const std::vector<Term> terms = read("cat\tKatze\r\n\n  big dog \t großer Hund\n");
  ASSERT_EQ(terms.size(), 2U);
  EXPECT_EQ(terms[0].target, "Katze");
  EXPECT_EQ(terms[1].source, "big dog");
  EXPECT_EQ(terms[1].target, "großer Hund");
  EXPECT_TRUE(terms[1].where.ends_with("terms.tsv:3"));
  EXPECT_TRUE(read("").empty());
  const auto refused = [&](const std::string& text) { return message_of<UserError>([&] { read(text); }); };
  for (const char* const wrong : {"a\tb\ncat\n", "a\tb\ncat\tx\ty\n", "a\tb\ncat\t \n", "a\tb\n\tx\n"})
    EXPECT_NE(refused(wrong).find("terms.tsv:2: a term is SOURCE<TAB>TARGET"), std::string::npos) << wrong;
  EXPECT_NE(refused("cat\ta\n\ncat\tb\n").find("terms.tsv:3: \"cat\" is there already, at "),
            std::string::npos);
  EXPECT_NE(refused("a\tb\nc\xFF\td\n").find("terms.tsv:2: byte 2 (0xff)"), std::string::npos);
}

TEST(RequiredText, FindsWholeWordsTheLongestFirst) {
  const std::vector<Term> terms = {{"cat", "a", "t:1"}, {"cat food", "b", "t:2"}, {"is", "c", "t:3"},
                                   {"猫", "d", "t:4"},  {"C++", "e", "t:5"},      {"food is", "ab", "t:6"}};
  const RequiredText required(small_vocabulary(), terms, "");
  EXPECT_EQ(found(required, "the cat, a cat"), (Texts{"a", "a"}));
  EXPECT_EQ(found(required, "concatenate this cats"), Texts{});
  EXPECT_EQ(found(required, "cat food is"), (Texts{"b", "c"}));
  EXPECT_EQ(found(required, "白猫和猫"), (Texts{"d", "d"})) << "words without spaces";
  EXPECT_EQ(found(required, "C++, C++ and C"), (Texts{"e", "e"}));
  EXPECT_EQ(found(required, "Cat IS"), Texts{}) << "as it is written";
  EXPECT_EQ(found(required, ""), Texts{});
}

TEST(RequiredText, KeepsWhatAPatternMatches) {
  const std::vector<Term> terms = {{"name", "x", "t:1"}};
  const RequiredText required(small_vocabulary(), terms, R"(\{\w*\}|https?://\S+|z*)");
  EXPECT_EQ(found(required, "name {name}, {name}: see http://a.b/name?c=1 name"),
            (Texts{"x", "{name}", "{name}", "http://a.b/name?c=1", "x"}));
  EXPECT_EQ(message_of<UserError>([&] { RequiredText(small_vocabulary(), {}, "(a"); }),
            "\"(a\", for text to keep, is no regular expression: U_REGEX_MISMATCHED_PAREN at character 2");
  const RequiredText any(small_vocabulary(), {}, ".+");
  EXPECT_TRUE(any.find(small_vocabulary(), "ａ", "in:1")[0].pieces.empty())
      << "SentencePiece would normalise it";
  TranslatorOptions options = small_options();
  options.keep = ".+";
  const SourceLine line = {.text = "ａ", .where = "in:1"};
  const auto translated = LineTranslator(small_model(), small_vocabulary(), options).translate({&line, 1});
  EXPECT_NE(translated[0].fault.find("in:1: the vocabulary of this model cannot write"), std::string::npos);
}

TEST(RequiredText, RefusesTargetsThatCannotBeWritten) {
  const std::vector<Term> terms = {{"a", "x", "t:1"}, {"b", "ﬁ", "t:2"}};
  EXPECT_EQ(message_of<UserError>([&] { RequiredText(small_vocabulary(), terms, ""); }),
            "t:2: the vocabulary of this model cannot write \"\\ufb01\"");
}

TEST(Translator, ContainsTermsAndKeptText) {
  TranslatorOptions options = small_options(2);
  options.decode.max_length_factor = 2;
  options.terms = {{"some words", "more of it", "t:1"}, {"abc", "xyz", "t:2"}};
  options.keep = R"(\{[a-z]+\})";
  const LineTranslator translator(small_model(), small_vocabulary(), options);
  const std::vector<SourceLine> lines = {{.text = "these are some words", .where = "in:1"},
                                         {.text = "abc and {name} abc", .where = "in:2"},
                                         {.text = "nothing", .where = "in:3"}};
  const auto translated = translator.translate(lines);
  for (const Translation& one : translated[0].best)
    EXPECT_NE(one.text.find("more of it"), std::string::npos) << one.text;
  for (const Translation& one : translated[1].best) {
    EXPECT_NE(one.text.find("{name}"), std::string::npos) << one.text;
    EXPECT_NE(one.text.find("xyz"), one.text.rfind("xyz")) << "twice: " << one.text;
  }
  TranslatorOptions plain = small_options(2);
  plain.decode.max_length_factor = 2;
  EXPECT_EQ(
      translated[2].best[0].text,
      LineTranslator(small_model(), small_vocabulary(), plain).translate({&lines[2], 1})[0].best[0].text);

  options.decode.max_length_factor = 0;
  options.decode.max_length_offset = 5;
  options.on_error = OnError::blank;
  const auto refused = LineTranslator(small_model(), small_vocabulary(), options).translate(lines);
  EXPECT_TRUE(refused[0].best.empty());
  EXPECT_NE(
      refused[0].fault.find("in:1: the translation must contain \"more of it\" (t:1), and with it has "),
      std::string::npos)
      << refused[0].fault;
  EXPECT_FALSE(refused[2].best.empty());
  options.decode.max_length_offset = 12;
  const SourceLine prefixed = {.text = "abc", .prefix = "more and more words of it", .where = "in:1"};
  const auto longer = LineTranslator(small_model(), small_vocabulary(), options).translate({&prefixed, 1});
  EXPECT_NE(longer[0].fault.find("in:1: the translation must contain \"xyz\" (t:2), and with it has "),
            std::string::npos)
      << "the prefix counts: " << longer[0].fault;
  options.sampling = Sampling();
  EXPECT_EQ(message_of<UserError>([&] { LineTranslator(small_model(), small_vocabulary(), options); }),
            "samples are drawn as they come: terms and text to keep need a beam");
}

}  // namespace
}  // namespace chorus
