#include "base/text.h"

#include <limits>

#include <gtest/gtest.h>

#include "base/message.h"

namespace chorus {
namespace {

TEST(Text, SplitsJoinsAndTrims) {
  EXPECT_EQ(split("a,,b", ','), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(split("", ','), (std::vector<std::string_view>{""}));
  EXPECT_EQ(split("a,", ','), (std::vector<std::string_view>{"a", ""}));
  EXPECT_EQ(join(std::vector<std::string>{"a", "b"}, ", "), "a, b");
  EXPECT_EQ(join(std::vector<std::string>{}, ", "), "");
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \r\n"), "");
}

TEST(Text, ForMessagesHasNothingThatMovesTheCursor) {
  EXPECT_EQ(one_line("a\n\tb\x7F caf\xC3\xA9"), "a\\x0a\\x09b\\x7f caf\xC3\xA9");
  EXPECT_EQ(one_line("\x1B[2J"), "\\x1b[2J");
  EXPECT_EQ(one_line("\xC2\x9B"
                     "2J"),
            "\\xc2\\x9b2J");  // a control sequence in one character
  EXPECT_EQ(one_line("a\xE2\x80\xAE"
                     "b"),
            "a\\xe2\\x80\\xaeb");  // from right to left
  EXPECT_EQ(one_line("\xFF\xC3"
                     "a\xE4\xB8"),
            "\\xff\\xc3a\\xe4\\xb8");  // no UTF-8
  EXPECT_EQ(one_line("\xD9\x85\xE2\x80\x8C\xD9\x86"), "\xD9\x85\xE2\x80\x8C\xD9\x86");
  EXPECT_EQ(one_line(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(one_line(std::string(300, 'x') + "y"),
            std::string(133, 'x') + "..." + std::string(65, 'x') + "y");
  std::string letters;
  for (int i = 0; i < 1000; ++i) letters += "\xC3\xA9";
  EXPECT_EQ(one_line(letters).find('\\'), std::string::npos) << "cut within a character";
  EXPECT_EQ(message_line("  one\ntwo\n"), "one\\x0atwo");
  EXPECT_LT(message_line(std::string(1000000, 'x')).size(), 2010U);
}

TEST(Text, EditDistanceCountsSwapsOnce) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("trian", "train"), 1U);
  EXPECT_EQ(edit_distance("abc", "acb"), 1U);
}

TEST(Text, NearestIsNearOrNothing) {
  const std::vector<std::string> names = {"beam", "batch", "seed"};
  EXPECT_EQ(nearest("bema", names), "beam");
  EXPECT_EQ(nearest("baem", names), "beam");
  EXPECT_EQ(nearest("zzzz", names), "");
  EXPECT_EQ(nearest("x", names), "");
  EXPECT_EQ(nearest("x", std::vector<std::string>{"y"}), "");
  EXPECT_EQ(nearest(std::string(1000000, 'x'), names), "");
  EXPECT_EQ(did_you_mean("sead", names), "; did you mean 'seed'?");
  EXPECT_EQ(did_you_mean("", names), "");
}

TEST(Text, CountedNounsAgree) {
  EXPECT_EQ(counted(0, "rank"), "0 ranks");
  EXPECT_EQ(counted(1, "rank"), "1 rank");
  EXPECT_EQ(counted(2, "rank"), "2 ranks");
  EXPECT_EQ(counted(1, "process", "processes"), "1 process");
  EXPECT_EQ(counted(2, "process", "processes"), "2 processes");
  EXPECT_EQ(counted(-1, "token"), "-1 tokens");
  EXPECT_EQ(counted(std::numeric_limits<int64_t>::max(), "line"), "9223372036854775807 lines");
}

TEST(Text, HumanNumbers) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(999.6), "1.00k");
  EXPECT_EQ(human_count(12345), "12.3k");
  EXPECT_EQ(human_count(999999), "1.00M");
  EXPECT_EQ(human_count(1.234e9), "1.23G");
  EXPECT_EQ(human_count(0.1234), "0.12");
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1288490189), "1.2 GiB");
  EXPECT_EQ(human_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(std::numeric_limits<uint64_t>::max()), "16.0 EiB");
  EXPECT_EQ(human_seconds(4.2), "4.2s");
  EXPECT_EQ(human_seconds(59.7), "1m00s");
  EXPECT_EQ(human_seconds(192), "3m12s");
  EXPECT_EQ(human_seconds(5 * 3600 + 7 * 60), "5h07m");
  EXPECT_EQ(human_seconds(2 * 86400 + 3 * 3600), "2d03h");
  EXPECT_EQ(human_seconds(std::numeric_limits<double>::infinity()), "?");
  EXPECT_EQ(human_seconds(-1), "?");
}

}  // namespace
}  // namespace chorus
