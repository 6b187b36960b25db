#include "metrics/tokenizer.h"

#include <array>
#include <bit>
#include <filesystem>

#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "io/files.h"

namespace chorus {
namespace {

std::string tokens(const Tokenizer& tokenizer, std::string_view line) {
  return fmt::format("{}", fmt::join(tokenizer(line), "|"));
}

struct Example {
  std::string line, western, international, chinese, characters, none;
};

// What sacreBLEU 2.6.0 makes of these lines (tests/reference/sacrebleu_parity.py compares far more of them).
TEST(Tokenizer, AgreesWithSacrebleu) {
  const std::vector<Example> examples = {
      {
          "Hello, world! (It's 3.14, e.g. 1,000-2,000.)",
          "Hello|,|world|!|(|It's|3.14|,|e|.|g|.|1,000|-|2,000|.|)",
          "Hello|,|world|!|(|It|'|s|3.14|,|e|.|g|.|1,000-2,000|.|)",
          "Hello|,|world|!|(|It's|3.14|,|e|.|g|.|1,000|-|2,000|.|)",
          "H|e|l|l|o|,|w|o|r|l|d|!|(|I|t|'|s|3|.|1|4|,|e|.|g|.|1|,|0|0|0|-|2|,|0|0|0|.|)",
          "Hello,|world!|(It's|3.14,|e.g.|1,000-2,000.)",
      },
      {
          "a - b-c 5-6 7- x.",
          "a|-|b-c|5|-|6|7|-|x|.",
          "a|-|b|-|c|5-6|7|-|x|.",
          "a|-|b-c|5|-|6|7|-|x|.",
          "a|-|b|-|c|5|-|6|7|-|x|.",
          "a|-|b-c|5-6|7-|x.",
      },
      {
          "&quot;A&amp;B&quot; &lt;i&gt; &amp;lt; <skipped>end",
          "\"|A|&|B|\"|<|i|>|<|end",
          "&|quot|;|A|&|amp|;|B|&|quot|;|&|lt|;|i|&|gt|;|&|amp|;|lt|;|<|skipped|>|end",
          "&|quot|;|A|&|amp|;|B|&|quot|;|&|lt|;|i|&|gt|;|&|amp|;|lt|;|<|skipped|>|end",
          "&|q|u|o|t|;|A|&|a|m|p|;|B|&|q|u|o|t|;|&|l|t|;|i|&|g|t|;|&|a|m|p|;|l|t|;|<|s|k|i|p|p|e|d|>|e|n|d",
          "&quot;A&amp;B&quot;|&lt;i&gt;|&amp;lt;|<skipped>end",
      },
      {
          "„Straße“\302\240– 50\302\240€, №5…",
          "„Straße“|–|50|€|,|№5…",
          "„|Straße|“|–|50|€|,|№|5…",
          "„|Straße|“|–|50|€|,|№|5|…",
          "„|S|t|r|a|ß|e|“|–|5|0|€|,|№|5|…",
          "„Straße“|–|50|€,|№5…",
      },
      {
          "¿Qué? ١٢٬٣ ½, x²₂. 2010.",
          "¿Qué|?|١٢٬٣|½|,|x²₂|.|2010|.",
          "¿|Qué|?|١٢٬٣|½|,|x²₂|.|2010.",
          "¿Qué|?|١٢٬٣|½|,|x²|₂|.|2010.",
          "¿|Q|u|é|?|١|٢|٬|٣|½|,|x|²|₂|.|2|0|1|0|.",
          "¿Qué?|١٢٬٣|½,|x²₂.|2010.",
      },
      {
          "我们有3.5个,好。ＡＢ１２「引」𠀀",
          "我们有3.5个|,|好。ＡＢ１２「引」𠀀",
          "我们有3.5个|,|好|。|ＡＢ１２|「|引|」|𠀀",
          "我|们|有|3.5|个|,|好|。|Ａ|Ｂ|１|２|「|引|」|𠀀",
          "我|们|有|3|.|5|个|,|好|。|Ａ|Ｂ|１|２|「|引|」|𠀀",
          "我们有3.5个,好。ＡＢ１２「引」𠀀",
      },
      {
          "a\343\200\200b\342\200\250c\034d\342\200\213e\357\273\277f\314\201  ",
          "a|b|c|d\342\200\213e\357\273\277f\314\201",
          "a|b|c|d\342\200\213e\357\273\277f\314\201",
          "a|b|c|d|\342\200\213|e\357\273\277f\314\201",
          "a|b|c|d|\342\200\213|e|\357\273\277|f|\314\201",
          "a|b|c|d\342\200\213e\357\273\277f\314\201",
      },
      {
          "😀👍🏽. a😀b,1",
          "😀👍🏽|.|a😀b|,|1",
          "😀|👍|🏽|.|a|😀|b|,|1",
          "😀👍🏽|.|a😀b|,|1",
          "😀|👍|🏽|.|a|😀|b|,|1",
          "😀👍🏽.|a😀b,1",
      },
      {
          "שלום, \"עולם\"! ٪٣",
          "שלום|,|\"|עולם|\"|!|٪٣",
          "שלום|,|\"|עולם|\"|!|٪|٣",
          "שלום|,|\"|עולם|\"|!|٪٣",
          "ש|ל|ו|ם|,|\"|ע|ו|ל|ם|\"|!|٪|٣",
          "שלום,|\"עולם\"!|٪٣",
      },
      {
          "  ... --- ,,,1,2 .5 5.",
          ".|.|.|---|,|,|,|1,2|.|5|5|.",
          ".|.|.|-|-|-|,|,|,|1,2|.|5|5.",
          ".|.|.|---|,|,|,|1,2|.|5|5.",
          ".|.|.|-|-|-|,|,|,|1|,|2|.|5|5|.",
          "...|---|,,,1,2|.5|5.",
      },
  };
  for (const Example& example : examples) {
    EXPECT_EQ(tokens(Tokenizer(), example.line), example.western);
    EXPECT_EQ(tokens(Tokenizer("13a"), example.line), example.western);
    EXPECT_EQ(tokens(Tokenizer("intl"), example.line), example.international);
    EXPECT_EQ(tokens(Tokenizer("zh"), example.line), example.chinese);
    EXPECT_EQ(tokens(Tokenizer("char"), example.line), example.characters);
    EXPECT_EQ(tokens(Tokenizer("none"), example.line), example.none);
  }
}

TEST(Tokenizer, BlankLinesHaveNoTokens) {
  for (const char* name : {"13a", "intl", "zh", "char", "none"}) {
    EXPECT_EQ(tokens(Tokenizer(name), ""), "") << name;
    EXPECT_EQ(tokens(Tokenizer(name), " \t\r\302\240\343\200\200\034"), "") << name;
    EXPECT_EQ(Tokenizer(name).name(), name);
  }
}

TEST(Tokenizer, WhiteSpaceAtTheEndDoesNotCount) {
  EXPECT_EQ(tokens(Tokenizer("intl"), "in 2010.\302\240\r"), "in|2010.");
  EXPECT_EQ(tokens(Tokenizer("intl"), "in 2010. x"), "in|2010|.|x");
}

TEST(Tokenizer, ReadsIllFormedBytesAsReplacementCharacters) {
  EXPECT_EQ(tokens(Tokenizer("char"), "a\xff\xc3"), "a|\xef\xbf\xbd|\xef\xbf\xbd");
  EXPECT_EQ(tokens(Tokenizer("none"), "\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

// A SentencePiece model is a protocol buffer; these write the fields of the smallest one that loads.
std::string field(int number, std::string_view bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} +
         std::string(bytes);
}

std::string piece(std::string_view text, float score, char type) {
  const auto bits = std::bit_cast<std::array<char, 4>>(score);
  const std::string rest = {2 << 3 | 5, bits[0], bits[1], bits[2], bits[3], 3 << 3, type};
  return field(1, field(1, text) + rest);
}

class SpmTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / fmt::format("chorus_spm_{}", getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(std::string_view bytes) {
    std::filesystem::path path = folder_ / "spm.model";
    write_file_atomically(path, bytes);
    return path;
  }

  // Two words, a letter, the space mark, and a symbol of the user's with white space inside.
  static std::string model() {
    constexpr char kNormal = 1, kUnknown = 2, kControl = 3, kUser = 4;
    return piece("<unk>", 0, kUnknown) + piece("<s>", 0, kControl) + piece("</s>", 0, kControl) +
           piece("▁the", -1, kNormal) + piece("▁cat", -2, kNormal) + piece("s", -3, kNormal) +
           piece("▁", -9, kNormal) + piece("[\302\240]", 0, kUser);
  }

  std::filesystem::path folder_;
};

TEST_F(SpmTokenizer, GivesThePieces) {
  const Tokenizer tokenizer("spm", write(model()));
  EXPECT_EQ(tokens(tokenizer, "the cats the  "), "▁the|▁cat|s|▁the");
  EXPECT_EQ(tokens(tokenizer, ""), "");
  EXPECT_EQ(tokens(tokenizer, "the[\302\240]s"), "▁the|[|]|s");
}

TEST_F(SpmTokenizer, IsNamedAfterTheFilesContent) {
  const std::string bytes = model();
  EXPECT_EQ(Tokenizer("spm", write(bytes)).name(), "spm-" + hash_text(hash_bytes(bytes)));
}

TEST_F(SpmTokenizer, RefusesWhatIsNoModel) {
  EXPECT_THROW(Tokenizer("spm", write("")), UserError);
  EXPECT_THROW(Tokenizer("spm", write("not a model")), UserError);
  EXPECT_THROW(Tokenizer("spm", write(model().substr(0, 20))), UserError);
  EXPECT_THROW(Tokenizer("spm", folder_ / "absent.model"), UserError);
  EXPECT_THROW(Tokenizer("spm", folder_), UserError);
}

TEST_F(SpmTokenizer, ModelAndNameGoTogether) {
  EXPECT_THROW(Tokenizer("spm"), UserError);
  EXPECT_THROW(Tokenizer("13a", write(model())), UserError);
  EXPECT_THROW(Tokenizer("14a"), UserError);
  EXPECT_THROW(Tokenizer(""), UserError);
}

TEST(Tokenizer, FollowsTheTargetLanguage) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> expected = {
      {"zh", {"zh", "zho_Hans", "zho_Hant", "zh-CN", "zh_TW", "yue", "yue_Hant", "cmn", "lzh", "wuu"}},
      {"char",
       {"ja", "jpn_Jpan", "ja_XX", "ko", "kor_Hang", "th", "tha_Thai", "km", "khm_Khmr", "lo", "lao_Laoo",
        "my", "mya_Mymr", "shn_Mymr", "bo", "bod_Tibt", "dzo_Tibt"}},
      {"13a",
       {"en", "eng_Latn", "pt-BR", "de@x", "nan_Latn", "vi", "jav_Latn", "hin_Deva", "arb_Arab", "xx",
        "source", "a", ""}}};
  for (const auto& [tokenizer, languages] : expected)
    for (const std::string& language : languages) EXPECT_EQ(tokenizer_for(language), tokenizer) << language;
}

}  // namespace
}  // namespace chorus
