// The page, and documents that go up and come down again, over a model of random weights.
#include <algorithm>
#include <future>
#include <optional>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "decode/small_model.h"
#include "served_model.h"
#include "server/service.h"

namespace chorus {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class English final : public LanguageDetector {
 public:
  [[nodiscard]] std::vector<DetectedLanguage> detect(std::string_view text) const override {
    if (text.find('<') != std::string_view::npos) return {};  // markup is no language
    return {{"en", 80}};
  }
};

std::shared_ptr<const ServedModels> file_models() {
  static const auto made = serve_small_model(1, std::make_shared<const English>());
  return made;
}

HttpReply ask_for(Service& service, const HttpRequest& request) {
  std::promise<HttpReply> promise;
  const auto waiting = service.handle(request, [&](HttpReply reply) {
    if (!reply.more) promise.set_value(std::move(reply));
  });
  return promise.get_future().get();
}

std::string header(const HttpReply& reply, std::string_view name) {
  const auto found = std::ranges::find(reply.headers, name, &std::pair<std::string, std::string>::first);
  return found == reply.headers.end() ? "" : found->second;
}

class FilesTest : public testing::Test {
 protected:
  /// Without `bytes` there is no file.
  HttpReply send(const std::string& name, const std::optional<std::string>& bytes,
                 const std::string& source = "en", const std::string& target = "de",
                 const std::string& accept = "") {
    std::string body;
    if (bytes)
      body += "--XY\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\n" +
              *bytes + "\r\n";
    for (const auto& [field, value] : {std::pair("source", source), std::pair("target", target)})
      body += "--XY\r\nContent-Disposition: form-data; name=\"" + std::string(field) + "\"\r\n\r\n" + value +
              "\r\n";
    return ask_for(service_, {.method = "POST",
                              .path = "/translate_file",
                              .content_type = "multipart/form-data; boundary=XY",
                              .accept = accept,
                              .site = "http://localhost:1",
                              .body = body + "--XY--\r\n"});
  }
  HttpReply fetch(const HttpReply& sent) {
    EXPECT_EQ(sent.status, 200) << sent.body;
    const std::string url = json::parse(sent.body)["translatedFileUrl"], site = "http://localhost:1";
    EXPECT_TRUE(url.starts_with(site + "/download_file/")) << url;
    return ask_for(service_, {.method = "GET", .path = url.substr(site.size())});
  }
  std::string translated(const std::string& text) {
    const HttpReply reply =
        ask_for(service_, {.method = "POST",
                           .path = "/translate",
                           .content_type = "application/json",
                           .body = json{{"q", text}, {"source", "en"}, {"target", "de"}}.dump()});
    return json::parse(reply.body)["translatedText"];
  }
  Service service_{file_models(), {}, {.characters = 100, .document_characters = 1000}};
};

TEST_F(FilesTest, ADocumentComesBackInItsForm) {
  const std::string fox = translated("the fox");
  const HttpReply text = fetch(send("letters/gr\xc3\xbc\xc3\x9f \\\"e\\\".TXT", "the fox\r\n\r\n 12\r\n"));
  EXPECT_EQ(text.status, 200);
  EXPECT_EQ(text.body, fox + "\r\n\r\n 12\r\n");
  EXPECT_EQ(text.type, "application/octet-stream");
  EXPECT_EQ(header(text, "Content-Security-Policy"), "sandbox");
  EXPECT_EQ(header(text, "Content-Disposition"),
            "attachment; filename=\"gr______e_.de.TXT\"; filename*=UTF-8''gr%C3%BC%C3%9F%20%22e%22.de.TXT");
  EXPECT_EQ(fetch(send("a.html", "<p>the fox</p><pre>the fox</pre>")).body,
            "<p>" + fox + "</p><pre>the fox</pre>");
  EXPECT_EQ(fetch(send("a.htm", "the fox", "auto")).body, fox);
  EXPECT_EQ(fetch(send("a.html", "<p>the fox</p>", "auto")).body, "<p>" + fox + "</p>")
      << "markup is not asked about";
  EXPECT_EQ(fetch(send("a.md", "# the fox\n\n    code\n")).body, "# " + fox + "\n\n    code\n");
  EXPECT_EQ(fetch(send("a.srt", "1\n00:00:01,000 --> 00:00:02,000\nthe fox\n")).body,
            "1\n00:00:01,000 --> 00:00:02,000\n" + fox + "\n");
  EXPECT_EQ(fetch(send("a.txt", "")).body, "");
  EXPECT_EQ(fetch(send("a.html", "<br>12", "auto")).body, "<br>12") << "no language is the wrong one";
  EXPECT_EQ(fetch(send("a.txt", "the fox", "en", "en")).body, "the fox");
  const std::string tmx =
      "<tmx version=\"1.4\"><header srclang=\"en\"/><body><tu><tuv xml:lang=\"en\"><seg>the "
      "fox</seg></tuv></tu></body></tmx>";
  EXPECT_THAT(fetch(send("a.tmx", tmx)).body, HasSubstr("<tuv xml:lang=\"de\"><seg>" + fox + "</seg></tuv>"));
}

TEST_F(FilesTest, TellsOfPartsAsTheyAreDone) {
  const HttpReply last = send("a.txt", "the fox\na\n", "en", "de", "text/event-stream");
  EXPECT_EQ(last.type, "text/event-stream");
  EXPECT_TRUE(
      last.body.starts_with("event: done\ndata: {\"translatedFileUrl\":\"http://localhost:1/download_file/"))
      << last.body;
}

TEST_F(FilesTest, WhatCannotBeDoneIsRefusedInWords) {
  const auto refused = [&](const HttpReply& reply) {
    EXPECT_EQ(reply.status, 400);
    return json::parse(reply.body)["error"].get<std::string>();
  };
  EXPECT_THAT(refused(send("a.txt", {})), HasSubstr("missing file parameter"));
  EXPECT_THAT(refused(send("a.txt", "a", "", "de")), HasSubstr("missing source parameter"));
  EXPECT_THAT(refused(send("a.txt", "a", "en", "")), HasSubstr("missing target parameter"));
  EXPECT_THAT(refused(send("a.txt", "a", "en", "klingon")), HasSubstr("klingon is not supported"));
  for (const char* name : {"a.pdf", "txt", "a.", "", "a.txt/", ".txt/a"})
    EXPECT_THAT(refused(send(name, "a")), HasSubstr("file format not supported")) << name;
  for (const std::string& no_text : {std::string("\xff\xfe"), std::string("a\0b\0", 4)})
    EXPECT_THAT(refused(send("a.txt", no_text)), HasSubstr("not text in UTF-8"));
  EXPECT_THAT(refused(send("a.txt", "a", "en", "de@x=/../")), HasSubstr("not supported"))
      << "goes into a name";
  EXPECT_THAT(refused(send("a.tmx", "<tmx/>", "auto")), HasSubstr("TMX"));
  EXPECT_THAT(refused(send("a.txt", std::string(1001, '1'))), HasSubstr("exceeds text limit (1000)"));
  EXPECT_EQ(fetch(send("a.txt", std::string(1000, '1'))).body, std::string(1000, '1'))
      << "ten times a text's";
  const HttpRequest json_request = {.method = "POST",
                                    .path = "/translate_file",
                                    .content_type = "application/json",
                                    .body = "{\"file\": \"a\"}"};
  EXPECT_THAT(refused(ask_for(service_, json_request)), HasSubstr("missing file parameter"));
  for (const std::string path :
       {"/download_file/", "/download_file/x", "/download_file/../x", "/download_file"})
    EXPECT_EQ(ask_for(service_, {.method = "GET", .path = path}).status, 404) << path;
  EXPECT_EQ(ask_for(service_, {.method = "POST", .path = "/download_file/x/y"}).status, 405);
}

TEST_F(FilesTest, MetricsNameNoDocument) {
  fetch(send("secret.txt", "the fox"));
  const std::string text = ask_for(service_, {.method = "GET", .path = "/metrics"}).body;
  EXPECT_THAT(text, HasSubstr("chorus_requests_total{endpoint=\"/download_file/\",status=\"200\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("secret")));
}

TEST_F(FilesTest, NeedADocumentAKeyAndThePageNone) {
  Service closed(file_models(), {{.key = "a-key-of-20-letters!", .characters = 50}});
  const auto with_key = [&](const std::string& key, size_t length) {
    return ask_for(closed,
                   {.method = "POST",
                    .path = "/translate_file",
                    .query = "source=en&target=de",
                    .content_type = "multipart/form-data; boundary=XY",
                    .authorization = key,
                    .body = "--XY\r\nContent-Disposition: form-data; name=file; filename=a.txt\r\n\r\n" +
                            std::string(length, '1') + "\r\n--XY--"})
        .status;
  };
  EXPECT_EQ(with_key("", 10), 400);
  EXPECT_EQ(with_key("Bearer not-this-one-but-another", 10), 403);
  EXPECT_EQ(with_key("Bearer a-key-of-20-letters!", 40), 200);
  EXPECT_EQ(with_key("Bearer a-key-of-20-letters!", 40), 429);
  EXPECT_EQ(ask_for(closed, {.method = "GET", .path = "/"}).status, 200);
}

TEST_F(FilesTest, ThePageIsOneFileThatAsksNobodyElse) {
  const HttpReply page = ask_for(service_, {.method = "GET", .path = "/"});
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.type, "text/html; charset=utf-8");
  EXPECT_EQ(header(page, "Referrer-Policy"), "no-referrer");
  const std::string policy = header(page, "Content-Security-Policy");
  EXPECT_TRUE(policy.starts_with("default-src 'none'; script-src 'nonce-")) << policy;
  for (const char* open : {"unsafe", "http:", "https:", "*"}) EXPECT_THAT(policy, Not(HasSubstr(open)));
  const size_t begin = policy.find("'nonce-") + 7;
  const std::string nonce = policy.substr(begin, policy.find('\'', begin) - begin);
  EXPECT_THAT(page.body, HasSubstr("<script nonce=\"" + nonce + "\">"));
  EXPECT_THAT(page.body, HasSubstr("<style nonce=\"" + nonce + "\">"));
  EXPECT_EQ(header(ask_for(service_, {.method = "GET", .path = "/"}), "Content-Security-Policy").find(nonce),
            std::string::npos)
      << "of one reply alone";
  for (const char* never : {"http:", "https:", "src=", "@import", "url(", "innerHTML", "insertAdjacentHTML",
                            "document.write", "eval(", "style=\"", "onclick=",
                            "%"
                            "STYLE%",
                            "%"
                            "SCRIPT%",
                            "%"
                            "NONCE%"})
    EXPECT_THAT(page.body, Not(HasSubstr(never)));
}

}  // namespace
}  // namespace chorus
