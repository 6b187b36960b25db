#include "metrics/bleu.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "metrics/corpus.h"

namespace chorus {
namespace {

using Orders = std::array<int64_t, kBleuOrder>;

BleuScore bleu_of(const Lines& hypotheses, const Lines& references) {
  return bleu(hypotheses, references, {.tokenizer = Tokenizer("none")});
}

struct Golden {
  std::string tokenizer;
  bool lowercase;
  int references;
  double score;
  Orders counts, totals;
  double brevity_penalty;
  int64_t sys_len, ref_len;
};

// From sacreBLEU 2.6.0.
TEST(Bleu, AgreesWithSacrebleu) {
  const std::vector<Golden> golden = {
      {"13a", false, 1, 22.144186519316477, {14, 7, 3, 1}, {26, 21, 16, 12}, 0.9622687143632572, 26, 27},
      {"intl", false, 1, 27.195238375956325, {16, 8, 4, 2}, {28, 23, 18, 14}, 0.9649159443723699, 28, 29},
      {"zh", false, 1, 26.45845408196359, {19, 10, 5, 2}, {32, 27, 22, 18}, 0.9692332344763441, 32, 33},
      {"char", false, 1, 49.051370178438624, {64, 49, 39, 31}, {89, 84, 79, 74}, 0.9038213177295076, 89, 98},
      {"none", false, 1, 17.495224528494923, {12, 5, 2, 0}, {23, 18, 13, 10}, 0.9574533680683809, 23, 24},
      {"13a", false, 2, 23.793665482062607, {16, 7, 3, 1}, {26, 21, 16, 12}, 1.0, 26, 25},
      {"intl", false, 2, 29.421295480628704, {19, 8, 4, 2}, {28, 23, 18, 14}, 1.0, 28, 27},
      {"zh", false, 2, 36.0769539533297, {23, 12, 7, 3}, {32, 27, 22, 18}, 1.0, 32, 31},
      {"char", false, 2, 63.687488474992534, {77, 58, 46, 35}, {89, 84, 79, 74}, 1.0, 89, 80},
      {"none", false, 2, 18.641996229708283, {13, 5, 2, 0}, {23, 18, 13, 10}, 1.0, 23, 22},
      {"13a", true, 1, 23.67313116117155, {16, 8, 3, 1}, {26, 21, 16, 12}, 0.9622687143632572, 26, 27},
      {"intl", true, 1, 28.84490620743503, {18, 9, 4, 2}, {28, 23, 18, 14}, 0.9649159443723699, 28, 29},
      {"zh", true, 1, 27.782994971171195, {21, 11, 5, 2}, {32, 27, 22, 18}, 0.9692332344763441, 32, 33},
      {"char", true, 1, 55.932163242646226, {70, 55, 45, 37}, {90, 85, 80, 75}, 0.9149472287300311, 90, 98},
      {"none", true, 1, 19.03055829988341, {14, 6, 2, 0}, {23, 18, 13, 10}, 0.9574533680683809, 23, 24},
      {"13a", true, 2, 25.33654946448646, {18, 8, 3, 1}, {26, 21, 16, 12}, 1.0, 26, 25},
      {"intl", true, 2, 31.431650899965813, {22, 9, 4, 2}, {28, 23, 18, 14}, 1.0, 28, 27},
      {"zh", true, 2, 37.95174651563601, {26, 13, 7, 3}, {32, 27, 22, 18}, 1.0, 32, 31},
      {"char", true, 2, 70.80996289795009, {81, 64, 53, 42}, {90, 85, 80, 75}, 1.0, 90, 81},
      {"none", true, 2, 20.22202784230022, {15, 6, 2, 0}, {23, 18, 13, 10}, 1.0, 23, 22},
  };
  for (const Golden& expected : golden) {
    const BleuScore score =
        bleu(hypotheses(), references(expected.references),
             {.tokenizer = Tokenizer(expected.tokenizer), .lowercase = expected.lowercase});
    SCOPED_TRACE(score.signature);
    EXPECT_NEAR(score.score, expected.score, 1e-9);
    EXPECT_EQ(score.counts, expected.counts);
    EXPECT_EQ(score.totals, expected.totals);
    EXPECT_NEAR(score.brevity_penalty, expected.brevity_penalty, 1e-12);
    EXPECT_EQ(score.sys_len, expected.sys_len);
    EXPECT_EQ(score.ref_len, expected.ref_len);
  }
}

TEST(Bleu, OneReferenceIsTheSameEitherWay) {
  EXPECT_EQ(bleu(hypotheses(), references(1)[0]).score, bleu(hypotheses(), references(1)).score);
}

TEST(Bleu, SmoothsOrdersWithoutMatches) {
  const BleuScore score = bleu_of({"a b c d e x"}, {"a c b e d x f g"});
  EXPECT_EQ(score.counts, (Orders{6, 0, 0, 0}));
  EXPECT_EQ(score.precisions, (std::array{100.0, 100 / 2.0 / 5, 100 / 4.0 / 4, 100 / 8.0 / 3}));
  EXPECT_NEAR(score.score, 9.102325599517188, 1e-9);
}

TEST(Bleu, IsZeroWhenNoHypothesisHasFourTokens) {
  const BleuScore score = bleu_of({"a b"}, {"a b"});
  EXPECT_EQ(score.score, 0);
  EXPECT_EQ(score.precisions, (std::array{100.0, 100.0, 0.0, 0.0}));
}

TEST(Bleu, IsZeroWithoutAMatch) {
  EXPECT_EQ(bleu_of({"x y z w v"}, {"a b c d"}).score, 0);
  EXPECT_EQ(bleu_of({"a"}, {""}).score, 0);
  EXPECT_EQ(bleu_of({""}, {""}).brevity_penalty, 1);
  const BleuScore empty = bleu_of({""}, {"a"});
  EXPECT_EQ(empty.score, 0);
  EXPECT_EQ(empty.brevity_penalty, 0);
  EXPECT_EQ(empty.ref_len, 1);
}

TEST(Bleu, EmptyLinesAmongOthersCountNothing) {
  EXPECT_NEAR(bleu_of({"", "a b c d"}, {"", "a b c d"}).score, 100, 1e-9);
}

TEST(Bleu, TakesTheNearestReferenceLengthAndOfTwoTheSmaller) {
  const Lines hypothesis = {"a b c d"};
  const BleuOptions none = {.tokenizer = Tokenizer("none")};
  EXPECT_EQ(bleu(hypothesis, std::vector<Lines>{{"a b c d e f"}, {"a b c"}}, none).ref_len, 3);
  EXPECT_EQ(bleu(hypothesis, std::vector<Lines>{{"a b c d e"}, {"a b c"}}, none).ref_len, 3);
  EXPECT_EQ(bleu(hypothesis, std::vector<Lines>{{"a b c d e"}, {"a"}}, none).ref_len, 5);
}

TEST(Bleu, SignatureSaysWhatTheFigureDependsOn) {
  EXPECT_EQ(bleu(hypotheses(), references(1)).signature,
            "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0+chorus");
  EXPECT_EQ(bleu(hypotheses(), references(2), {.tokenizer = Tokenizer("zh"), .lowercase = true}).signature,
            "nrefs:2|case:lc|eff:no|tok:zh|smooth:exp|version:2.6.0+chorus");
  EXPECT_EQ(bleu(hypotheses(), references(1), {.effective_order = true}).signature,
            "nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp|version:2.6.0+chorus");
}

TEST(Bleu, ReadsIllFormedBytesAsReplacementCharacters) {
  EXPECT_NEAR(bleu(Lines{"The cat \xff sat on the mat."}, Lines{"The cat \xef\xbf\xbd sat on a mat."}).score,
              59.4603557501361, 1e-9);
}

// From sacreBLEU 2.6.0, sentence_score() with effective_order.
TEST(Bleu, OfSingleSentencesTakesTheOrdersThatTheyHave) {
  const std::vector<std::pair<std::string, double>> golden = {{"The cat sat on the mat.", 48.8923022435},
                                                              {"cat", 0.2478752177},
                                                              {"a cat", 5.8042859161},
                                                              {"the the the the", 0},
                                                              {"", 0},
                                                              {"Ja .", 4.1042499312},
                                                              {"nothing", 0}};
  for (const auto& [line, score] : golden) {
    EXPECT_NEAR(bleu(Lines{line}, Lines{"The cat sat on a mat."}, {.effective_order = true}).score, score,
                1e-9)
        << line;
  }
}

TEST(ExpectedBleu, IsTheMeanOfThePairsScores) {
  Lines lines = hypotheses();
  for (const Lines& more : references(2)) lines.insert(lines.end(), more.begin(), more.end());
  const std::vector<double> expected = expected_bleu(lines);
  ASSERT_EQ(expected.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    double sum = 0;
    for (size_t j = 0; j < lines.size(); ++j)
      if (j != i) sum += bleu(Lines{lines[i]}, Lines{lines[j]}, {.effective_order = true}).score;
    EXPECT_EQ(expected[i], sum / static_cast<double>(lines.size() - 1)) << lines[i];
  }
  EXPECT_EQ(expected_bleu(Lines{"a"}), std::vector<double>{0});
}

TEST(Bleu, RefusesNothingAndUnequalLines) {
  EXPECT_THROW(bleu(Lines{}, Lines{}), Error);
  EXPECT_THROW(bleu(Lines{"a"}, Lines{"a", "b"}), Error);
  EXPECT_THROW(bleu(Lines{"a"}, std::vector<Lines>{}), Error);
  EXPECT_THROW(bleu(Lines{"a"}, std::vector<Lines>{{"a"}, {}}), Error);
}

}  // namespace
}  // namespace chorus
