#include "decode/internal/lines.h"

#include <array>
#include <vector>

#include <gtest/gtest.h>

#include "decode/findings.h"

namespace chorus {
namespace {

TEST(IsBlank, OfWhatDoesNotShowOrStandsForNothing) {
  for (const char* blank : {"",
                            " \t",
                            "\u200d",
                            "\u200c\u00ad",
                            "\u200e \u200f",
                            "\x01\x7f\u0085",
                            "\ufeff",
                            "\u180e",
                            "\ufe0f",
                            "\u2029",
                            "\u061c",
                            "\U000e0001\U000e0100",
                            "\ufff9\ufffb",
                            "\u3164\u115f\uffa0",
                            "\u034f",
                            "\u2581",
                            "\u2800",
                            "\ufffc",
                            "\ufffd\ufffd",
                            "\u0300\u20dd",
                            "\u0903",
                            "\uffff",
                            "\U0001d173"}) {
    EXPECT_TRUE(is_blank(blank)) << blank;
  }
  for (const char* text :
       {"a", "\u200d1", ".", "\u2026", "€", "😀\ufe0f", "e\u0301", "가", "\ue000", "\u0378", "<"})
    EXPECT_FALSE(is_blank(text)) << text;
  EXPECT_TRUE(is_blank(std::string_view("\0\0", 2)));
}

TEST(EndsInLoop, WantsThreeTimesAndSixTokens) {
  const auto ends = [](const std::vector<int32_t>& tokens) { return ends_in_loop(tokens); };
  EXPECT_TRUE(ends({1, 7, 7, 7, 7, 7, 7}));
  EXPECT_FALSE(ends({1, 7, 7, 7, 7, 7}));
  EXPECT_TRUE(ends({9, 1, 2, 1, 2, 1, 2}));
  EXPECT_TRUE(ends({9, 1, 2, 3, 1, 2, 3, 1, 2, 3}));
  EXPECT_TRUE(ends({3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1}));  // cut inside
  EXPECT_FALSE(ends({1, 2, 3, 1, 2, 3, 2, 3}));
  EXPECT_FALSE(ends({1, 2, 1, 2, 1, 2, 3}));
  EXPECT_FALSE(ends({}));
}

TEST(Utf8, FaultsAreNamedAndReplacedSequenceBySequence) {
  EXPECT_EQ(utf8_fault("fine ü", "in:3"), "");
  EXPECT_EQ(utf8_fault("no\xC3", "in:3"), "in:3: byte 3 (0xc3) is not UTF-8");
  EXPECT_EQ(as_utf8("a\xFF\xC3 \xE2\x82z"), "a\uFFFD\uFFFD \uFFFDz");
  EXPECT_EQ(as_utf8({"\0ü", 3}), std::string("\0ü", 3));
}

TEST(Findings, ShowTheFirstAndCountTheRest) {
  Findings findings;
  EXPECT_EQ(findings.text(), "");
  for (const char* what : {"a:1", "a:2", "a:3"}) findings.add(what);
  EXPECT_EQ(findings.text(), "a:1; a:2; a:3");
  findings.add("a:9");
  findings.add("a:10");
  EXPECT_EQ(findings.count, 5);
  EXPECT_EQ(findings.text(), "a:1; a:2; a:3; and 2 more");
}

}  // namespace
}  // namespace chorus
