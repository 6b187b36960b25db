#include "metrics/report.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace chorus {
namespace {

const std::vector<std::string> kHypothesis = {"The cat sat on the mat."};
const std::vector<std::string> kReference = {"The cat sat on a mat."};

TEST(Report, TextIsAlignedAtTheEqualsSign) {
  const std::vector<MetricReport> reports = {report(bleu(kHypothesis, kReference)),
                                             report(chrf(kHypothesis, kReference, {.word_order = 2}))};
  EXPECT_EQ(to_text(reports),
            "    BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0+chorus = 48.89 "
            "85.7/66.7/40.0/25.0 (BP = 1.000 ratio = 1.000 hyp_len = 7 ref_len = 7)\n"
            "chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0+chorus = 72.66\n");
}

TEST(Report, JsonOfOneIsAnObject) {
  const std::vector<MetricReport> reports = {report(chrf(kHypothesis, kReference))};
  EXPECT_EQ(to_json(reports), R"({
 "name": "chrF2",
 "score": 71.42,
 "signature": "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0+chorus",
 "nrefs": "1",
 "case": "mixed",
 "eff": "yes",
 "nc": "6",
 "nw": "0",
 "space": "no",
 "version": "2.6.0+chorus"
}
)");
}

TEST(Report, JsonOfSeveralIsAnArray) {
  const std::vector<MetricReport> reports = {report(bleu(kHypothesis, kReference)),
                                             report(chrf(kHypothesis, kReference))};
  const auto json = nlohmann::json::parse(to_json(reports));
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[0]["score"], 48.89);
  EXPECT_EQ(json[0]["tok"], "13a");
  EXPECT_EQ(json[0]["verbose_score"],
            "85.7/66.7/40.0/25.0 (BP = 1.000 ratio = 1.000 hyp_len = 7 ref_len = 7)");
  EXPECT_FALSE(json[1].contains("verbose_score"));
}

TEST(Report, NoReferenceTokensGiveTheRatioZero) {
  const MetricReport empty = report(bleu(std::vector<std::string>{"a"}, std::vector<std::string>{""}));
  EXPECT_EQ(empty.verbose, "0.0/0.0/0.0/0.0 (BP = 1.000 ratio = 0.000 hyp_len = 1 ref_len = 0)");
}

}  // namespace
}  // namespace chorus
