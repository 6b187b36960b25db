#include "base/utf8.h"

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

TEST(Utf8, SpacesOfFilesAndOfPythonDiffer) {
  for (const char32_t c : U" \t\n\v\f\r\u0085\u00A0\u1680\u2000\u200A\u2028\u2029\u202F\u205F\u3000"s)
    EXPECT_TRUE(is_file_space(c) && is_python_space(c)) << std::hex << static_cast<uint32_t>(c);
  for (const char32_t c : U"\u200B\uFEFF"s) EXPECT_TRUE(is_file_space(c) && !is_python_space(c));
  for (const char32_t c : U"\x1C\x1D\x1E\x1F"s) EXPECT_TRUE(!is_file_space(c) && is_python_space(c));
  for (const char32_t c : U"a\b\x0E\x7F\u00AD\u180E\u200C\u200D\u2060\U0010FFFF"s)
    EXPECT_TRUE(!is_file_space(c) && !is_python_space(c)) << std::hex << static_cast<uint32_t>(c);
}

TEST(Utf8, DecodesAsPythonDoes) {
  EXPECT_EQ(to_utf32("a\xE2\x82z\xFF\xED\xA0\x80\xF0\x9F\x98\x80"),
            U"a\uFFFDz\uFFFD\uFFFD\uFFFD\uFFFD\U0001F600");
  EXPECT_EQ(to_utf32(""), U"");
  EXPECT_EQ(to_utf8(U"a\u00E9\u20AC\U0001F600"), "a\u00E9\u20AC\U0001F600");
}

}  // namespace
}  // namespace chorus
