#include "metrics/chrf.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "metrics/corpus.h"

namespace chorus {
namespace {

struct ChrfGolden {
  int word_order;
  bool lowercase;
  int references;
  double score;
};

// From sacreBLEU 2.6.0.
TEST(Chrf, AgreesWithSacrebleu) {
  const std::vector<ChrfGolden> golden = {
      {0, false, 1, 44.78281825525852},  {2, false, 1, 44.288740661638556}, {0, false, 2, 42.31193667957464},
      {2, false, 2, 44.288740661638556}, {0, true, 1, 52.11202829519672},   {2, true, 1, 51.3124249080542},
      {0, true, 2, 49.79102033480062},   {2, true, 2, 52.156055089782235},
  };
  for (const ChrfGolden& expected : golden) {
    const ChrfScore score = chrf(hypotheses(), references(expected.references),
                                 {.word_order = expected.word_order, .lowercase = expected.lowercase});
    EXPECT_NEAR(score.score, expected.score, 1e-9) << score.name << '|' << score.signature;
  }
}

TEST(Chrf, OneReferenceIsTheSameEitherWay) {
  EXPECT_EQ(chrf(hypotheses(), references(1)[0]).score, chrf(hypotheses(), references(1)).score);
}

TEST(Chrf, AveragesOverTheOrdersBothSidesHave) {
  EXPECT_EQ(chrf(Lines{"a b"}, Lines{"a b"}).score, 100);  // only orders 1 and 2 exist
  EXPECT_NEAR(chrf(Lines{"a b c d e x"}, Lines{"a c b e d x f g"}).score, 13.157894736842104, 1e-9);
  EXPECT_EQ(chrf(Lines{"x y z w v"}, Lines{"a b c d"}).score, 0);
}

TEST(Chrf, EmptyLinesScoreNothing) {
  for (const int word_order : {0, 2}) {
    EXPECT_EQ(chrf(Lines{""}, Lines{"a"}, {.word_order = word_order}).score, 0);
    EXPECT_EQ(chrf(Lines{"a"}, Lines{""}, {.word_order = word_order}).score, 0);
    EXPECT_EQ(chrf(Lines{""}, Lines{""}, {.word_order = word_order}).score, 0);
    EXPECT_EQ(chrf(Lines{"", "a b c d"}, Lines{"", "a b c d"}, {.word_order = word_order}).score, 100);
  }
}

TEST(Chrf, IgnoresWhiteSpaceOfEveryKind) {
  EXPECT_EQ(chrf(Lines{"a b\302\240c\343\200\200d\t"}, Lines{"abcd"}).score, 100);
}

TEST(Chrf, SetsPunctuationApartFromWords) {
  EXPECT_NEAR(chrf(Lines{"(hi) \"x\" a. . ..."}, Lines{"(hi) \"y\" a . .."}, {.word_order = 2}).score,
              55.52019555361055, 1e-9);
}

TEST(Chrf, NamesAndSigns) {
  const ChrfScore plain = chrf(hypotheses(), references(1));
  EXPECT_EQ(plain.name, "chrF2");
  EXPECT_EQ(plain.signature, "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0+chorus");
  const ChrfScore words = chrf(hypotheses(), references(2), {.word_order = 2, .lowercase = true});
  EXPECT_EQ(words.name, "chrF2++");
  EXPECT_EQ(words.signature, "nrefs:2|case:lc|eff:yes|nc:6|nw:2|space:no|version:2.6.0+chorus");
}

TEST(ExpectedChrf, IsTheMeanOfThePairsScores) {
  Lines lines = hypotheses();
  for (const Lines& more : references(2)) lines.insert(lines.end(), more.begin(), more.end());
  lines.push_back(lines[0]);
  const std::vector<double> expected = expected_chrf(lines);
  ASSERT_EQ(expected.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    double sum = 0;
    for (size_t j = 0; j < lines.size(); ++j)
      if (j != i) sum += chrf(Lines{lines[i]}, Lines{lines[j]}).score;
    EXPECT_EQ(expected[i], sum / static_cast<double>(lines.size() - 1)) << lines[i];
  }
  EXPECT_EQ(expected_chrf(Lines{"a"}), std::vector<double>{0});
  EXPECT_TRUE(expected_chrf({}).empty());
}

TEST(Chrf, RefusesNothingAndUnequalLines) {
  EXPECT_THROW(chrf(Lines{}, Lines{}), Error);
  EXPECT_THROW(chrf(Lines{"a"}, Lines{"a", "b"}), Error);
  EXPECT_THROW(chrf(Lines{"a"}, std::vector<Lines>{}), Error);
}

}  // namespace
}  // namespace chorus
