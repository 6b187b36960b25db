// A line among others: what it becomes does not depend on them, and it can be dropped.
#include <gtest/gtest.h>

#include "decode/small_model.h"

namespace chorus {
namespace {

std::vector<SourceLine> some_lines() {
  std::vector<SourceLine> lines;
  for (const std::string text :
       {"a b c. d e f! g", "", "the quick brown fox", "b", "of a word and another word",
        "c c c c c c c c c c c c c c c c", "not \xFF text", "fox fox. the fox"})
    lines.push_back({.text = text, .number = std::ssize(lines), .where = "line"});
  return lines;
}

TranslatorOptions some_options(int64_t beam) {
  TranslatorOptions options = small_options(beam);
  options.decode.beam = beam;
  options.sentences = true;
  options.on_error = OnError::blank;
  return options;
}

void expect_same_bits(const TranslatedLine& a, const TranslatedLine& b) {
  EXPECT_EQ(a.fault, b.fault);
  ASSERT_EQ(a.best.size(), b.best.size());
  for (size_t rank = 0; rank < a.best.size(); ++rank) {
    EXPECT_EQ(a.best[rank].text, b.best[rank].text);
    EXPECT_EQ(a.best[rank].score, b.best[rank].score);
    ASSERT_EQ(a.best[rank].pieces.size(), b.best[rank].pieces.size());
    for (size_t i = 0; i < a.best[rank].pieces.size(); ++i)
      EXPECT_EQ(a.best[rank].pieces[i].log_probability, b.best[rank].pieces[i].log_probability);
  }
}

TEST(ALineAmongOthers, HasTheSameBitsAsAlone) {
  const std::vector<SourceLine> lines = some_lines();
  for (const int64_t beam : {1, 4}) {
    TranslatorOptions options = some_options(beam);
    for (const bool listed : {false, true}) {
      if (listed)
        for (int32_t token = 40; token < 140; token += 3)
          if (small_vocabulary().is_text(token)) options.shortlist.push_back(token);
      const LineTranslator translator(small_model(), small_vocabulary(), options);
      ASSERT_TRUE(translator.independent());
      const std::vector<TranslatedLine> together = translator.translate(lines);
      for (size_t i = 0; i < lines.size(); ++i)
        expect_same_bits(translator.translate(std::span(lines).subspan(i, 1)).front(), together[i]);
    }
  }
}

TEST(ALineAmongOthers, IsDroppedBetweenStepsAndTheOthersGoOn) {
  const std::vector<SourceLine> lines = some_lines();
  const LineTranslator translator(small_model(), small_vocabulary(), some_options(4));
  const std::vector<TranslatedLine> whole = translator.translate(lines);
  size_t asked = 0;
  const auto stopped = [&](size_t line) { return line == 5 && ++asked > 3; };
  const std::vector<TranslatedLine> some = translator.translate(lines, stopped);
  EXPECT_EQ(asked, 4U) << "of what is dropped nobody asks again";
  for (size_t i = 0; i < lines.size(); ++i)
    if (i != 5) expect_same_bits(some[i], whole[i]);
  EXPECT_TRUE(some[5].best.empty());
  EXPECT_EQ(some[5].fault, "");
  for (const TranslatedLine& line : translator.translate(lines, [](size_t) { return true; }))
    EXPECT_LE(line.best.size(), 1U) << "but for lines with nothing to translate there is none";
}

}  // namespace
}  // namespace chorus
