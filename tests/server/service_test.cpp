// The interfaces over a model of random weights, without sockets.
#include "server/service.h"

#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "decode/scorer.h"
#include "decode/small_model.h"
#include "served_model.h"

namespace chorus {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

/// A text without a letter 'e' is of no language.
class Detector final : public LanguageDetector {
 public:
  [[nodiscard]] std::vector<DetectedLanguage> detect(std::string_view text) const override {
    if (text.find('e') == std::string_view::npos) return {};
    return {{"en", 80}, {"de", 15}};
  }
};

std::shared_ptr<const ServedModels> served_models() {
  static const auto made = serve_small_model(3, std::make_shared<const Detector>());
  return made;
}

struct Reply {
  int status = 0;
  json body;
};

class ServiceTest : public testing::Test {
 protected:
  Reply ask(HttpRequest request) { return ask(service_, std::move(request)); }
  static Reply ask(Service& service, HttpRequest request) {
    const auto promise = std::make_shared<std::promise<HttpReply>>();
    const auto waiting =
        service.handle(request, [promise](HttpReply reply) { promise->set_value(std::move(reply)); });
    const HttpReply reply = promise->get_future().get();
    return {reply.status, reply.type == "application/json" ? json::parse(reply.body) : json(reply.body)};
  }
  Reply post(const std::string& path, const json& body) {
    return ask({.method = "POST", .path = path, .content_type = "application/json", .body = body.dump()});
  }
  Reply get(const std::string& path) { return ask({.method = "GET", .path = path}); }

  static std::vector<TranslatedLine> expected(const std::vector<std::string>& texts, int64_t nbest = 1) {
    TranslatorOptions options = {
        .from = "en", .to = "de", .decode = {.beam = 3, .nbest = nbest}, .sentences = true};
    std::vector<SourceLine> lines;
    lines.reserve(texts.size());
    for (const std::string& text : texts) lines.push_back({.text = text});
    return LineTranslator(small_model(), small_vocabulary(), options).translate(lines);
  }

  Service service_{served_models()};
};

TEST_F(ServiceTest, TranslatesAsTheTranslatorDoes) {
  const auto lines = expected({"a quick fox.", "two words", "of a list"}, 3);
  const Reply reply = post("/translate", {{"q", {"a quick fox.\n\n two words\n", "of a list"}},
                                          {"source", "en"},
                                          {"target", "de"},
                                          {"alternatives", 2}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.body["translatedText"][0], lines[0].best[0].text + "\n\n " + lines[1].best[0].text + "\n");
  EXPECT_EQ(reply.body["translatedText"][1], lines[2].best[0].text);
  EXPECT_THAT(reply.body["alternatives"][1].get<std::vector<std::string>>(),
              ElementsAre(lines[2].best[1].text, lines[2].best[2].text));
  EXPECT_FALSE(reply.body.contains("detectedLanguage"));
}

TEST_F(ServiceTest, TellsWhichLanguageItFound) {
  EXPECT_EQ(post("/detect", {{"q", "the"}}).body,
            json::parse(R"([{"confidence":80.0,"language":"en"},{"confidence":15.0,"language":"de"}])"));
  EXPECT_EQ(post("/detect", {{"q", "fox"}}).body, json::parse(R"([{"confidence":0.0,"language":"de"}])"));
  const Reply reply = post("/translate", {{"q", "the fox"}, {"source", "auto"}, {"target", "deu"}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.body["detectedLanguage"], json::parse(R"({"confidence":80.0,"language":"en"})"));
  EXPECT_EQ(reply.body["translatedText"], expected({"the fox"})[0].best[0].text);
  EXPECT_EQ(post("/translate", {{"q", "fox"}, {"source", "auto"}, {"target", "de"}}).status, 400);
}

TEST_F(ServiceTest, KeepsTagsWhereItIsToldOfThem) {
  const std::string text = expected({"the fox"})[0].best[0].text;
  const json request = {{"q", "<p>the fox</p><pre>the fox</pre>"}, {"source", "en"}, {"target", "de"}};
  json as_html = request, inside = request;
  as_html["format"] = "html";
  EXPECT_EQ(post("/translate", as_html).body["translatedText"], "<p>" + text + "</p><pre>the fox</pre>");
  EXPECT_NE(post("/translate", request).body["translatedText"], "<p>" + text + "</p><pre>the fox</pre>");
  inside["format"] = "html";
  inside["q"] = "the <b>fox</b>";
  EXPECT_THAT(post("/translate", inside).body["translatedText"].get<std::string>(),
              testing::MatchesRegex(".*<b>.*</b>.*"));
  EXPECT_EQ(
      post("/v2/translate", {{"text", {"<p>the fox</p>"}}, {"target_lang", "DE"}, {"tag_handling", "html"}})
          .body["translations"][0]["text"],
      "<p>" + text + "</p>");
}

TEST_F(ServiceTest, BoundsTheLinesWhateverEndsThem) {
  Service narrow(served_models(), {}, {.lines = 3});
  const auto ask_for = [&](const std::string& text, const char* format) {
    const json body = {{"q", {text, "a"}}, {"source", "en"}, {"target", "de"}, {"format", format}};
    return ask(
        narrow,
        {.method = "POST", .path = "/translate", .content_type = "application/json", .body = body.dump()});
  };
  for (const std::string end : {"\n", "\r", "\r\n", "\v", "\f", "\u2028", "<br>", "<p>"}) {
    const char* format = end.starts_with('<') ? "html" : "text";
    EXPECT_EQ(ask_for("a" + end + "b", format).status, 200) << json(end);
    const Reply reply = ask_for("a" + end + "b" + end + "c", format);
    EXPECT_EQ(reply.status, 400) << json(end);
    EXPECT_EQ(reply.body["error"], "Invalid request: request (4 lines) exceeds text limit (3)");
  }
}

TEST_F(ServiceTest, TranslatesALanguageIntoItselfAsItIs) {
  EXPECT_EQ(
      post("/translate", {{"q", "the\nfox"}, {"source", "en"}, {"target", "en"}}).body["translatedText"],
      "the\nfox");
  EXPECT_EQ(ask({.method = "POST",
                 .path = "/translate",
                 .query = "q=fox&source=en&target=en",
                 .accept = "text/event-stream"})
                .body,
            "event: done\ndata: {\"translatedText\":\"fox\"}\n\n");
}

TEST_F(ServiceTest, IsDeeplToo) {
  const Reply reply =
      post("/v2/translate", {{"text", {"the fox", "a"}}, {"source_lang", "EN"}, {"target_lang", "DE-DE"}});
  ASSERT_EQ(reply.status, 200) << reply.body;
  EXPECT_EQ(reply.body["translations"][0],
            (json{{"detected_source_language", "EN"}, {"text", expected({"the fox"})[0].best[0].text}}));
  EXPECT_EQ(reply.body["translations"].size(), 2U);
  EXPECT_EQ(post("/v2/translate", {{"text", {"the fox"}}, {"target_lang", "DE"}})
                .body["translations"][0]["detected_source_language"],
            "EN");
  const Reply refused =
      post("/v2/translate", {{"text", {"a"}}, {"target_lang", "DE"}, {"tag_handling", "xml"}});
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body["message"].get<std::string>(), HasSubstr("tag_handling"));
}

TEST_F(ServiceTest, ScoresPairs) {
  const Reply reply = post("/v1/score", {{"q", {"a fox", "the"}},
                                         {"translation", {"b c", std::string(5000, 'x')}},
                                         {"source", "en"},
                                         {"target", "de"}});
  EXPECT_EQ(reply.status, 400) << "the second is too long";
  const Reply scored =
      post("/v1/score", {{"q", "a fox"}, {"translation", "b c"}, {"source", "en"}, {"target", "de"}});
  ASSERT_EQ(scored.status, 200) << scored.body;
  const PairTags tags = small_vocabulary().pair_tags("en", "de");
  const SentencePair pair = {.source = small_vocabulary().encode("a fox"),
                             .target = small_vocabulary().encode("b c"),
                             .source_tag = tags.source,
                             .target_tag = tags.target};
  const PairScore wanted = score_pairs(small_model(), {&pair, 1}, 1000).front();
  EXPECT_NEAR(scored.body["scores"][0]["logProbability"].get<double>(), wanted.log_probability, 1e-6);
  EXPECT_EQ(
      post("/v1/score", {{"q", "a"}, {"translation", {"b", "c"}}, {"source", "en"}, {"target", "de"}}).status,
      400);
}

TEST_F(ServiceTest, SaysWhatThereIs) {
  const json languages = get("/languages").body;
  ASSERT_EQ(languages.size(), 3U);
  for (const json& language : languages) EXPECT_EQ(language["targets"].size(), 2U);
  EXPECT_EQ(get("/frontend/settings").body["language"]["source"]["code"], "auto");
  EXPECT_THAT(get("/frontend/settings").body["supportedFilesFormat"].get<std::vector<std::string>>(),
              testing::IsSupersetOf({".txt", ".html", ".md", ".srt", ".vtt", ".tmx"}));
  EXPECT_EQ(get("/spec").body["openapi"], "3.0.3");
  const json spec = get("/spec").body;
  for (const auto& [path, methods] : spec["paths"].items()) {
    const std::string method = methods.contains("get") ? "GET" : "POST";
    const bool of_documents = path.find('{') != std::string::npos;
    EXPECT_EQ(ask({.method = method, .path = path}).status == 404, of_documents) << path;
  }
  EXPECT_EQ(get("/nowhere").status, 404);
  EXPECT_EQ(get("/translate").status, 405);
  EXPECT_EQ(get("/ready").status, 200);
  service_.begin_drain();
  EXPECT_EQ(get("/ready").status, 503);
  EXPECT_EQ(get("/health").status, 200);
}

TEST_F(ServiceTest, CountsWhatItDid) {
  post("/translate", {{"q", "the fox"}, {"source", "en"}, {"target", "de"}});
  post("/translate", {{"q", "the fox"}, {"source", "en"}, {"target", "klingon"}});
  get("/a/path/of/somebody");
  const std::string text = get("/metrics").body.get<std::string>();
  for (const char* line :
       {"chorus_requests_total{endpoint=\"/translate\",status=\"200\"} 1\n",
        "chorus_requests_total{endpoint=\"/translate\",status=\"400\"} 1\n",
        "chorus_requests_total{endpoint=\"other\",status=\"404\"} 1\n", "chorus_characters_total 14\n",
        "chorus_request_seconds_count{endpoint=\"/translate\"} 2\n", "chorus_waiting_lines 0\n",
        "chorus_batched_lines_total 1\n"})
    EXPECT_THAT(text, HasSubstr(line));
  EXPECT_EQ(text.find("somebody"), std::string::npos);
}

TEST_F(ServiceTest, TellsOfLinesAsTheyAreDone) {
  std::vector<std::string> pieces;
  std::promise<void> ended;
  const auto waiting = service_.handle({.method = "POST",
                                        .path = "/translate",
                                        .content_type = "application/json",
                                        .accept = "text/event-stream",
                                        .body = R"({"q": "the fox\na", "source": "en", "target": "de"})"},
                                       [&](const HttpReply& reply) {
                                         EXPECT_EQ(reply.type, "text/event-stream");
                                         pieces.push_back(reply.body);
                                         if (!reply.more) ended.set_value();
                                       });
  ended.get_future().get();
  ASSERT_EQ(pieces.size(), 3U);
  const nlohmann::ordered_json first = {
      {"line", 0}, {"lines", 2}, {"translatedText", expected({"the fox"})[0].best[0].text}};
  EXPECT_EQ(pieces[0], "event: line\ndata: " + first.dump() + "\n\n");
  EXPECT_TRUE(pieces[2].starts_with("event: done\ndata: {\"translatedText\":")) << pieces[2];
}

TEST_F(ServiceTest, NeedsAKeyWhereThereAreKeys) {
  Service closed(served_models(), {{.key = "a-key-of-20-letters!", .requests = 2}});
  const auto translate = [&](const std::string& key, const std::string& header) {
    return ask(closed, {.method = "POST",
                        .path = "/translate",
                        .query = "q=a&source=en&target=de&api_key=" + key,
                        .authorization = header});
  };
  EXPECT_EQ(translate("", "").status, 400);
  EXPECT_EQ(translate("a-key-of-20-letters", "").status, 403);
  EXPECT_EQ(translate("", "Bearer a-key-of-20-letters!!").status, 403);
  EXPECT_EQ(translate("a-key-of-20-letters!", "").status, 200);
  EXPECT_EQ(translate("", "DeepL-Auth-Key a-key-of-20-letters!").status, 200);
  EXPECT_EQ(translate("", "Bearer a-key-of-20-letters!").status, 429);
  EXPECT_EQ(ask(closed, {.method = "GET", .path = "/metrics"}).status, 400);
  EXPECT_EQ(ask(closed, {.method = "GET", .path = "/health"}).status, 200);
  EXPECT_EQ(ask(closed, {.method = "POST", .path = "/v2/translate"}).status, 403);
}

TEST(LanguageCodes, FindTheLanguageThatIsMeant) {
  LanguageCodes codes;
  for (const char* code :
       {"deu_Latn", "eng_Latn", "zho_Hans", "zho_Hant", "kor_Hang", "arb_Arab", "srp_Cyrl"})
    codes.add(code);
  EXPECT_EQ(codes.find("deu_Latn"), "deu_Latn");
  EXPECT_EQ(codes.find("de"), "deu_Latn");
  EXPECT_EQ(codes.find("EN-US"), "eng_Latn");
  EXPECT_EQ(codes.find("zh"), "zho_Hans");
  EXPECT_EQ(codes.find("zh-TW"), "zho_Hant");
  EXPECT_EQ(codes.find("zh_Hant"), "zho_Hant");
  EXPECT_EQ(codes.find("ko"), "kor_Hang");
  EXPECT_EQ(codes.find("sr-RS"), "srp_Cyrl");
  EXPECT_EQ(codes.find("sr-Latn"), std::nullopt) << "another script";
  LanguageCodes few;
  for (const char* code : {"zh-CN", "srp_Latn", "de"}) few.add(code);
  EXPECT_EQ(few.find("zh"), "zh-CN");
  EXPECT_EQ(few.find("sr"), "srp_Latn") << "the only one of the language";
  for (const char* none : {"zh-TW", "zh-Hant", "ZH-HANT", "deu_Cyrl", "sr-Cyrl"})
    EXPECT_EQ(few.find(none), std::nullopt) << none;
  for (const std::string& none : std::vector<std::string>{"fr", "", "x", "klingon", std::string(100000, 'd')})
    EXPECT_EQ(codes.find(none), std::nullopt) << none.substr(0, 20);
  EXPECT_EQ(language_name("deu_Latn"), "German");
  EXPECT_EQ(language_name("zho_Hant"), "Chinese (Traditional)");
  EXPECT_EQ(language_name("de"), "German");
}

}  // namespace
}  // namespace chorus
