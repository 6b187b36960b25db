#include "server/request_fields.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace chorus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

RequestFields from_json(const std::string& body) {
  return RequestFields({.method = "POST", .content_type = "Application/JSON; charset=utf-8", .body = body});
}
RequestFields from_form(const std::string& body, const std::string& query = "") {
  return RequestFields({.method = "POST",
                        .query = query,
                        .content_type = body.empty() ? "" : "application/x-www-form-urlencoded",
                        .body = body});
}
/// What the refusal says.
template <class Make>
std::string refusal(const Make& make) {
  try {
    make();
  } catch (const Refusal& refused) {
    EXPECT_EQ(refused.status(), 400);
    EXPECT_EQ(std::string(refused.what()).find('\n'), std::string::npos);
    return refused.what();
  }
  return "";
}

TEST(RequestFields, AreThoseOfAnObject) {
  const RequestFields fields =
      from_json(R"({"q": ["a", "b\u00e4"], "source": "en", "alternatives": 3, "x": null, "y": true})");
  EXPECT_THAT(fields.texts("q").texts, ElementsAre("a", "bä"));
  EXPECT_TRUE(fields.texts("q").list);
  EXPECT_EQ(fields.text("source"), "en");
  EXPECT_FALSE(fields.texts("source").list);
  EXPECT_EQ(fields.number("alternatives", 0, 10), 3);
  EXPECT_EQ(fields.number("none", 7, 10), 7);
  EXPECT_FALSE(fields.has("x"));
  EXPECT_EQ(fields.text("y"), "true");
  EXPECT_THAT(from_json(R"({"q": []})").texts("q").texts, IsEmpty());
}

TEST(RequestFields, AreThoseOfAFormAndAQuery) {
  const RequestFields fields =
      from_form("q=a+b%20%C3%A4%0A&target=de&empty=&flag&text=1&text=2", "source=en");
  EXPECT_EQ(fields.text("q"), "a b ä\n");
  EXPECT_EQ(fields.text("source"), "en");
  EXPECT_EQ(fields.text("target"), "de");
  EXPECT_EQ(fields.text("empty"), "");
  EXPECT_TRUE(fields.has("empty"));
  EXPECT_FALSE(fields.has("flag"));
  EXPECT_THAT(fields.texts("text").texts, ElementsAre("1", "2"));
  EXPECT_EQ(from_form("", "q=only").text("q"), "only");
}

TEST(RequestFields, RefuseWhatTheyAreNot) {
  for (const char* body : {"", "{", "[1]", "7", R"("q")", R"({"q": {"a": 1}})", R"({"q": [1]})",
                           R"({"q": "a", "q": "b"})", "{\"q\": \"\xFF\"}", "{\"q\": \"a\"}\x01", "nul"})
    EXPECT_NE(refusal([&] { from_json(body); }), "") << body;
  EXPECT_NE(refusal([] { from_json(std::string(100000, '[')); }), "");
  for (const char* body : {"q=%", "q=%4", "q=%zz", "q=%FF", "%C3=a"})
    EXPECT_NE(refusal([&] { from_form(body); }), "") << body;
  std::string many;
  for (int i = 0; i < 2000; ++i) many += "a=&";
  EXPECT_THAT(refusal([&] { from_form(many); }), HasSubstr("parameters"));
  EXPECT_THAT(refusal([] { RequestFields({.method = "POST", .content_type = "text/plain", .body = "q=a"}); }),
              HasSubstr("application/json"));
}

TEST(RequestFields, RefuseNumbersThatAreNone) {
  for (const char* number : {"\"x\"", "1.5", "11", "\"9999999999999999999999\"", "[\"1\"]", "\"1 \""})
    EXPECT_NE(
        refusal([&] {
          static_cast<void>(
              from_json(fmt::format(R"({{"alternatives": {}}})", number)).number("alternatives", 0, 10));
        }),
        "")
        << number;
  EXPECT_EQ(from_json(R"({"alternatives": -3})").number("alternatives", 0, 10), 0);
  EXPECT_THAT(refusal([] { static_cast<void>(from_form("q=1&q=2").text("q")); }), HasSubstr("q is one text"));
}

}  // namespace
}  // namespace chorus
