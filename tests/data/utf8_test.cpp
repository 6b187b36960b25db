#include "data/utf8.h"

#include <vector>

#include <gtest/gtest.h>

namespace chorus {
namespace {

using namespace std::string_literals;

TEST(Utf8, EveryCodePointGoesOutAndComesBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string text;
    append_utf8(text, c);
    ASSERT_TRUE(is_valid_utf8(text)) << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(count_code_points(text), 1U);
    size_t position = 0;
    ASSERT_EQ(next_code_point(text, position), c);
    ASSERT_EQ(position, text.size());
  }
}

TEST(Utf8, IllFormedBytesAreFoundWhereTheyBegin) {
  const std::vector<std::string> bad = {
      "\x80"s,
      "\xBF"s,
      "\xC0\x80"s,
      "\xC1\xBF"s,
      "\xC3"s,
      "\xC3\x28"s,
      "\xE0\x80\x80"s,
      "\xE2\x82"s,
      "\xED\xA0\x80"s,
      "\xED\xBF\xBF"s,
      "\xEF\xBF"s,
      "\xF0\x80\x80\x80"s,
      "\xF0\x9F\x98"s,
      "\xF4\x90\x80\x80"s,
      "\xF5\x80\x80\x80"s,
      "\xFE"s,
      "\xFF"s,
  };
  for (const auto& bytes : bad) {
    for (const size_t before : {0, 1, 7, 8, 9, 31}) {
      const std::string text = std::string(before, 'a') + bytes + "tail";
      EXPECT_EQ(valid_utf8_prefix(text), before) << testing::PrintToString(bytes);
      size_t position = before;
      EXPECT_EQ(next_code_point(text, position), U'\uFFFD');
      EXPECT_EQ(position, before + 1);
    }
    EXPECT_FALSE(is_valid_utf8(bytes));
  }
  EXPECT_TRUE(is_valid_utf8(""));
  EXPECT_TRUE(is_valid_utf8("a\0b"s));
}

TEST(Utf8, TrimsUnicodeSpace) {
  EXPECT_EQ(trim_space(" \t\r\n\u00A0\u3000x y\u200B\uFEFF\u2003"), "x y");
  EXPECT_EQ(trim_space("\u3000"), "");
  EXPECT_EQ(trim_space(""), "");
  EXPECT_EQ(trim_space("\u00E9"), "\u00E9");
  EXPECT_EQ(trim_space(" \xFF "), "\xFF");
  EXPECT_EQ(trim_space("\x80\x80\x80\x80\x80"), "\x80\x80\x80\x80\x80");
}

}  // namespace
}  // namespace chorus
