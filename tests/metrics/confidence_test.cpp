#include "metrics/confidence.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "metrics/corpus.h"
#include "metrics/report.h"

#include "metrics/internal/bootstrap.h"

namespace chorus {
namespace {

std::vector<uint32_t> draws(uint32_t bound, int count) {
  metrics::Pcg64 random;
  std::vector<uint32_t> drawn;
  for (int i = 0; i < count; ++i) drawn.push_back(random.below(bound));
  return drawn;
}

// What numpy 2.4's default_rng(12345).choice(bound, size=count) gives.
TEST(Confidence, DrawsWhatNumpyDraws) {
  EXPECT_EQ(draws(7, 12), (std::vector<uint32_t>{4, 1, 5, 2, 1, 5, 4, 4, 6, 2, 5, 2}));
  EXPECT_EQ(draws(3000000000U, 6),
            (std::vector<uint32_t>{2097645094, 682008066, 2365940964, 950275018, 2392096371, 2028764011}));
  EXPECT_EQ(draws(1, 3), (std::vector<uint32_t>{0, 0, 0}));
}

std::string text(const MetricReport& report) {
  return to_text(std::span(&report, 1), 4);
}

// From sacreBLEU 2.6.0, of 100 resamples. Its chrF has the digits of fp32.
TEST(Confidence, AgreesWithSacrebleu) {
  EXPECT_EQ(text(report(bleu(hypotheses(), references(1), {.resamples = 100}))),
            "BLEU|nrefs:1|bs:100|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0+chorus = "
            "22.1442 (μ = 22.3209 ± 17.0254) 53.8/33.3/18.8/8.3 (BP = 0.962 ratio = 0.963 hyp_len = 26 "
            "ref_len = 27)\n");
  EXPECT_EQ(text(report(chrf(hypotheses(), references(2), {.resamples = 100}))),
            "chrF2|nrefs:2|bs:100|seed:12345|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0+chorus = "
            "42.3119 (μ = 42.5498 ± 20.4432)\n");
  const Lines reference = references(1).front(), other = references(2).back();
  const auto bleus =
      compare(bleu(other, reference, {.resamples = 100}), bleu(hypotheses(), reference, {.resamples = 100}));
  EXPECT_DOUBLE_EQ(bleus.p_value, 0.297029702970297);
  EXPECT_NEAR(bleus.baseline.confidence->mean, 18.49236601041194, 1e-6);
  EXPECT_NEAR(bleus.baseline.confidence->half_width, 13.93274715815128, 1e-6);
  const auto chrfs =
      compare(chrf(other, reference, {.resamples = 100}), chrf(hypotheses(), reference, {.resamples = 100}));
  EXPECT_DOUBLE_EQ(chrfs.p_value, 0.18811881188118812);
}

TEST(Confidence, NeedsTheSameResamples) {
  const std::vector<double> some = {1, 2}, more = {1, 2, 3};
  EXPECT_THROW(p_value(1, some, more), Error);
  EXPECT_THROW(confidence({}), Error);
}

}  // namespace
}  // namespace chorus
