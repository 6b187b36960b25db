#include "io/json.h"

#include <cmath>

#include <nlohmann/json.hpp>

#include "decode/scorer.h"
#include "decode/small_model.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

std::vector<nlohmann::json> parsed(const std::string& text) {
  std::vector<nlohmann::json> objects;
  for (const std::string& line : lines_of(text)) objects.push_back(parse_json(line, "output"));
  return objects;
}

std::vector<nlohmann::json> translated_json(const std::string& text, const TranslatorOptions& translator,
                                            const std::string& prefix = "") {
  const TemporaryFolder folder;
  write_text(folder / "in.txt", text);
  LineReader reader(folder / "in.txt");
  std::string out;
  translate_stream(
      LineTranslator(small_model(), small_vocabulary(), translator), &reader,
      {.prefix = prefix, .form = LineForm::json, .write = [&](std::string_view t) { out += t; }});
  return parsed(out);
}

TEST(Json, HasTranslationsWithTheScoresOfTheirTokens) {
  const std::vector<SourceLine> lines = {{.text = "some words"}, {.text = ""}, {.text = "\"a\"\t\\b ü😀"}};
  const auto expected = LineTranslator(small_model(), small_vocabulary(), small_options(3)).translate(lines);
  const std::vector<nlohmann::json> made =
      translated_json("some words\n\n\"a\"\t\\b ü😀\r\n", small_options(3));
  ASSERT_EQ(made.size(), 3U);
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_EQ(made[i]["index"], i);
    EXPECT_EQ(made[i]["source"], lines[i].text);
    EXPECT_FALSE(made[i].contains("fault"));
    ASSERT_EQ(made[i]["translations"].size(), expected[i].best.size());
    for (size_t rank = 0; rank < expected[i].best.size(); ++rank) {
      const nlohmann::json& one = made[i]["translations"][rank];
      EXPECT_EQ(one["text"], expected[i].best[rank].text);
      EXPECT_NEAR(one["score"].get<double>(), expected[i].best[rank].score, 1e-6);
      double sum = 0;
      std::string text;
      for (const nlohmann::json& token : one["tokens"]) {
        sum += token["log_probability"].get<double>();
        text += token["piece"].get<std::string>();
      }
      EXPECT_NEAR(sum, one["log_probability"].get<double>(), 1e-4);
      if (lines[i].text.empty()) continue;
      EXPECT_EQ(text.ends_with("</s>"), one["ended"].get<bool>());
      const auto tokens = static_cast<double>(one["tokens"].size() + 1);  // and the tag
      EXPECT_NEAR(sum / tokens, one["score"].get<double>(), 1e-4);
    }
  }
  EXPECT_TRUE(translated_json("", small_options()).empty());
}

TEST(Json, SaysWhatWasGivenAndJoinsParts) {
  const nlohmann::json prefixed = translated_json("some words\n", small_options(), "abc")[0];
  const size_t given = small_vocabulary().encode("abc").size();
  const nlohmann::json& tokens = prefixed["translations"][0]["tokens"];
  ASSERT_GT(tokens.size(), given);
  for (size_t i = 0; i < tokens.size(); ++i)
    EXPECT_EQ(tokens[i]["log_probability"].is_null(), i < given) << i;

  TranslatorOptions parts = small_options();
  parts.sentences = true;
  const nlohmann::json both = translated_json("Some words. More!\n", parts)[0]["translations"][0],
                       first = translated_json("Some words.\n", parts)[0]["translations"][0],
                       second = translated_json("More!\n", parts)[0]["translations"][0];
  EXPECT_EQ(both["tokens"].size(), first["tokens"].size() + second["tokens"].size());
  EXPECT_NEAR(both["log_probability"].get<double>(),
              first["log_probability"].get<double>() + second["log_probability"].get<double>(), 1e-4);
  EXPECT_EQ(both["ended"].get<bool>(), first["ended"].get<bool>() && second["ended"].get<bool>());
}

TEST(Json, IsUtf8WhateverTheLineIs) {
  TranslatorOptions translator = small_options();
  const std::string text = "abc\nnot \xFF fine\nabc\n";
  translator.on_error = OnError::blank;
  std::vector<nlohmann::json> made = translated_json(text, translator);
  ASSERT_EQ(made.size(), 3U);
  EXPECT_EQ(made[1]["source"], "not \uFFFD fine");
  EXPECT_TRUE(made[1]["translations"].empty());
  EXPECT_NE(made[1]["fault"].get<std::string>().find("in.txt:2: byte 5 (0xff)"), std::string::npos);
  translator.on_error = OnError::replace;
  made = translated_json(text, translator);
  EXPECT_EQ(made[1]["translations"].size(), 1U);
  EXPECT_TRUE(made[1].contains("fault"));
  translator.on_error = OnError::skip;
  made = translated_json(text, translator);
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[1]["index"], 2);
}

TEST(Json, OfScoresHasTheLossOfEachToken) {
  const TemporaryFolder folder;
  write_text(folder / "source.txt", "some words\nabc\n");
  write_text(folder / "target.txt", "more \"words\"\n\n");
  const auto scored = [&](bool json) {
    LineReader source(folder / "source.txt"), target(folder / "target.txt");
    std::string out;
    score_stream(
        small_model(), small_vocabulary(), &source, &target,
        {.from = "en", .to = "de", .length_penalty = 1, .json = json, .write = [&](std::string_view text) {
           out += text;
         }});
    return out;
  };
  const std::vector<nlohmann::json> made = parsed(scored(true));
  const std::vector<std::string> plain = lines_of(scored(false));
  ASSERT_EQ(made.size(), 2U);
  EXPECT_EQ(made[0]["source"], "some words");
  EXPECT_EQ(made[0]["target"], "more \"words\"");
  for (size_t i = 0; i < made.size(); ++i) {
    EXPECT_NEAR(made[i]["score"].get<double>(), std::stod(plain[i]), 2e-6);
    const std::vector<int32_t> target = small_vocabulary().encode(made[i]["target"].get<std::string>());
    ASSERT_EQ(made[i]["tokens"].size(), target.size() + 1);
    double sum = 0;
    for (size_t k = 0; k <= target.size(); ++k) {
      EXPECT_EQ(made[i]["tokens"][k]["piece"],
                small_vocabulary().name_of(k < target.size() ? target[k] : kEos));
      sum += made[i]["tokens"][k]["log_probability"].get<double>();
    }
    EXPECT_NEAR(sum, made[i]["log_probability"].get<double>(), 1e-4);
    EXPECT_NEAR(sum / static_cast<double>(target.size() + 2), made[i]["score"].get<double>(), 1e-4);
  }
  // What a translation says of its tokens is what scoring it says of them.
  const nlohmann::json translation = translated_json("some words\n", small_options())[0]["translations"][0];
  const SentencePair pair = {.source = small_vocabulary().encode("some words"),
                             .target = small_vocabulary().encode(translation["text"].get<std::string>()),
                             .source_tag = small_vocabulary().tag("en"),
                             .target_tag = small_vocabulary().tag("de")};
  const PairScore score = score_pairs(small_model(), {&pair, 1}, 100)[0];
  size_t same = 0;
  for (size_t k = 0; k < pair.target.size() && k < translation["tokens"].size(); ++k) {
    if (translation["tokens"][k]["piece"] != small_vocabulary().name_of(pair.target[k])) break;
    EXPECT_NEAR(translation["tokens"][k]["log_probability"].get<double>(), score.log_probabilities[k], 1e-4);
    ++same;
  }
  EXPECT_GT(same, 0U) << "the model spells at least the first token as the vocabulary does";
}

}  // namespace
}  // namespace chorus
