#include "server/multipart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/request_fields.h"

namespace chorus {
namespace {

const std::string kType = "multipart/form-data; boundary=XY";

std::string part(const std::string& disposition, const std::string& data) {
  return "--XY\r\nContent-Disposition: form-data; " + disposition + "\r\nContent-Type: text/plain\r\n\r\n" +
         data + "\r\n";
}

int status_of_form(const std::string& type, const std::string& body) {
  try {
    read_multipart(type, body);
    return 200;
  } catch (const Refusal& refusal) {
    EXPECT_EQ(std::string(refusal.what()).find('\n'), std::string::npos);
    return refusal.status();
  }
}

TEST(Multipart, HasFieldsAndFilesInTheirOrder) {
  const std::string data = "a\r\n--X\r\n\0\xff\r\n";
  const std::string bytes(data.data(), data.size());
  const std::string body = "preamble\r\n" + part("name=\"source\"", "en") +
                           part("name=\"file\"; filename=\"a \\\"b\\\".txt\"", bytes) +
                           part("name=empty; filename=\"\"", "") + "--XY--\r\nepilogue";
  const std::vector<FormPart> parts = read_multipart(kType, body);
  ASSERT_EQ(parts.size(), 3U);
  EXPECT_EQ(parts[0].name, "source");
  EXPECT_EQ(parts[0].file_name, std::nullopt);
  EXPECT_EQ(parts[0].data, "en");
  EXPECT_EQ(parts[1].file_name, "a \"b\".txt");
  EXPECT_EQ(parts[1].data, bytes);
  EXPECT_EQ(parts[2].name, "empty");
  EXPECT_EQ(parts[2].file_name, "");
  EXPECT_EQ(parts[2].data, "");
}

TEST(Multipart, ReadsNamesAsClientsWriteThem) {
  const auto file_name = [](const std::string& disposition) {
    return read_multipart(kType, part(disposition, "x") + "--XY--").at(0).file_name;
  };
  EXPECT_EQ(file_name("name=\"file\"; filename=plain.txt"), "plain.txt");
  EXPECT_EQ(file_name("NAME=\"file\" ; FileName = \"c;d=e.txt\""), "c;d=e.txt");
  EXPECT_EQ(file_name("name=\"file\"; filename=\"C:\\dir\\f.txt\""), "C:\\dir\\f.txt");
  EXPECT_EQ(file_name("name=\"file\"; filename=\"x\"; filename*=UTF-8''gr%C3%BC%C3%9Fe.txt"), "grüße.txt");
  EXPECT_EQ(file_name("name=\"file\"; filename=\"grüße.txt\""), "grüße.txt");
  for (const char* type :
       {"multipart/form-data; charset=utf-8; boundary=\"XY\"", "multipart/form-data;BOUNDARY=XY ; x=y"})
    EXPECT_EQ(read_multipart(type, part("name=a", "x") + "--XY--").size(), 1U) << type;
  EXPECT_EQ(read_multipart(kType, "--XY--").size(), 0U);
  EXPECT_EQ(
      read_multipart(kType, "--XY \t\r\ncontent-disposition: form-data; name=a\r\n\r\nx\r\n--XY--").size(),
      1U)
      << "white space behind the boundary";
}

TEST(Multipart, RefusesWhatIsNone) {
  const std::string whole = part("name=\"a\"", "x") + "--XY--";
  EXPECT_EQ(status_of_form(kType, whole), 200);
  for (size_t cut = 0; cut < whole.size(); ++cut)
    EXPECT_EQ(status_of_form(kType, whole.substr(0, cut)), 400) << cut;
  for (const std::string type : {"multipart/form-data", "multipart/form-data; boundary=",
                                 "multipart/form-data; boundary=\"\"", "multipart/form-data; boundary=XZ"})
    EXPECT_EQ(status_of_form(type, whole), 400) << type;
  EXPECT_EQ(status_of_form("multipart/form-data; boundary=" + std::string(71, 'X'), whole), 400);
  EXPECT_EQ(status_of_form(kType, "--XY\r\n\r\nno head\r\n--XY--"), 400);
  EXPECT_EQ(status_of_form(kType, part("filename=\"a\"", "x") + "--XY--"), 400) << "no name";
  EXPECT_EQ(status_of_form(kType, part("name=" + std::string(9000, 'a'), "x") + "--XY--"), 400);
  std::string many;
  for (int i = 0; i < 101; ++i) many += part("name=a", "");
  EXPECT_EQ(status_of_form(kType, many + "--XY--"), 400);
}

TEST(Multipart, IsAFormLikeOthers) {
  const RequestFields fields({.method = "POST",
                              .content_type = "Multipart/Form-Data; boundary=XY",
                              .body = part("name=\"q\"", "ein Text") + part("name=\"q\"", "noch einer") +
                                      part("name=\"file\"; filename=\"a.txt\"", "\xff") + "--XY--"});
  EXPECT_THAT(fields.texts("q").texts, testing::ElementsAre("ein Text", "noch einer"));
  EXPECT_FALSE(fields.texts("q").list);
  ASSERT_NE(fields.file("file"), nullptr);
  EXPECT_EQ(fields.file("file")->name, "a.txt");
  EXPECT_EQ(fields.file("file")->bytes, "\xff");
  EXPECT_EQ(fields.file("q"), nullptr);
  EXPECT_FALSE(fields.has("file"));
  EXPECT_THROW(RequestFields({.content_type = kType, .body = part("name=\"q\"", "\xff") + "--XY--"}),
               Refusal);
}

TEST(Multipart, FileNamesAsClientsWriteThem) {
  const auto name_of = [](const std::string& disposition) {
    return read_multipart(kType, part("name=\"file\"; " + disposition, "x") + "--XY--").at(0).file_name;
  };
  EXPECT_EQ(name_of("filename=\"a%22b+c%41.txt\""), "a\"b+c%41.txt") << "browsers: a quote alone";
  EXPECT_EQ(name_of("filename*=utf-8''gr%C3%BC+n.txt"), "gr\xc3\xbc+n.txt");
  EXPECT_EQ(name_of("filename=\"x.txt\"; filename*=UTF-8'de'gr%C3%BCn.txt"), "gr\xc3\xbcn.txt");
  EXPECT_EQ(name_of("filename=\"x.txt\"; filename*=iso-8859-1''gr%FCn.txt"), "x.txt");
  EXPECT_EQ(name_of("filename*=UTF-8'x.txt"), std::nullopt);
  EXPECT_EQ(name_of("filename*="), std::nullopt);
}

TEST(Multipart, RefusesTwoFilesOfOneName) {
  const std::string file = part("name=\"file\"; filename=\"a.txt\"", "x");
  EXPECT_THROW(RequestFields({.content_type = kType, .body = file + file + "--XY--"}), Refusal);
}

}  // namespace
}  // namespace chorus
