// Translators with a shortlist.
#include <algorithm>
#include <set>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include "decode/small_model.h"

namespace chorus {
namespace {

std::vector<int32_t> every(int32_t nth) {
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < small_vocabulary().size(); id += nth)
    if (small_vocabulary().is_text(id)) ids.push_back(id);
  return ids;
}

std::vector<SourceLine> source_lines() {
  std::vector<SourceLine> lines;
  for (const std::string& text : sentences("en", 20))
    lines.push_back({.text = text, .number = std::ssize(lines), .where = "text"});
  lines[3].text = "";
  lines[5].prefix = "zq";
  return lines;
}

std::vector<std::string> texts_of(const std::vector<TranslatedLine>& lines) {
  std::vector<std::string> texts;
  for (const TranslatedLine& line : lines)
    for (const Translation& one : line.best) texts.push_back(one.text);
  return texts;
}

/// To which what is no text is improbable, as to one that was trained.
std::unique_ptr<Transformer> model_of_text(uint64_t seed) {
  auto model = opinionated_model(small_model().config(), seed);
  const Catalogue& catalogue = model->catalogue();
  const at::Tensor embedding = model->parameters()[catalogue.embedding].value,
                   aside = at::zeros({embedding.size(1)});
  aside[0] = 1;
  embedding.select(1, 0).zero_();
  for (const int32_t id : never_chosen(small_vocabulary(), model->config().vocabulary))
    embedding[id].copy_(aside * -100);
  model->parameters()[catalogue.decoder_norm.bias].value.add_(aside * 10);
  return model;
}

TEST(TranslatorWithAShortlist, OfAllTextSaysTheSame) {
  const auto first = model_of_text(2), second = model_of_text(7);
  for (const bool draws : {false, true}) {
    for (const auto& models : {std::vector{first.get()}, {first.get(), second.get()}}) {
      TranslatorOptions options = small_options(3);
      if (draws) options.sampling = Sampling{.top_p = 0.9};
      const auto translated = [&] {
        return LineTranslator(models, small_vocabulary(), options).translate(source_lines());
      };
      const std::vector<TranslatedLine> without = translated();
      options.shortlist = every(1);
      const std::vector<TranslatedLine> listed = translated();
      EXPECT_EQ(texts_of(listed), texts_of(without));
      for (size_t i = 0; i < listed.size(); ++i)
        EXPECT_NEAR(listed[i].best[0].score, without[i].best[0].score, 1e-4);
    }
  }
}

TEST(TranslatorWithAShortlist, WritesItsPiecesAndThoseOfTheLine) {
  const Vocabulary& vocabulary = small_vocabulary();
  TranslatorOptions options = small_options(3);
  options.shortlist = every(7);
  const std::vector<SourceLine> lines = source_lines();
  const LineTranslator translator(small_model(), vocabulary, options);
  const std::vector<TranslatedLine> together = translator.translate(lines);
  size_t copied = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    std::set<std::string> listed = {"</s>"}, own;
    for (const int32_t id : options.shortlist) listed.insert(vocabulary.name_of(id));
    for (const std::string& text : {lines[i].text, lines[i].prefix})
      for (const int32_t id : vocabulary.encode(text)) own.insert(vocabulary.name_of(id));
    for (const Translation& one : together[i].best) {
      for (const auto& [piece, log_probability] : one.pieces) {
        EXPECT_TRUE(listed.contains(piece) || own.contains(piece)) << i << " " << piece;
        copied += listed.contains(piece) ? 0 : 1;
      }
    }
    EXPECT_EQ(texts_of(translator.translate({&lines[i], 1})), texts_of({together[i]})) << "alone";
  }
  EXPECT_GT(copied, 0U) << "the test must see some";
}

TEST(TranslatorWithAShortlist, HasTermsAndWhatIsKept) {
  TranslatorOptions options = small_options(2);
  options.shortlist = every(7);
  options.terms = {{"some", "qqzx", "t:1"}};
  options.keep = R"(\{\w*\})";
  const LineTranslator translator(small_model(), small_vocabulary(), options);
  const SourceLine line = {.text = "some {words}"};
  const std::vector<TranslatedLine> made = translator.translate({&line, 1});
  ASSERT_EQ(made[0].best.size(), 2U);
  for (const Translation& one : made[0].best) {
    EXPECT_NE(one.text.find("qqzx"), std::string::npos) << one.text;
    EXPECT_NE(one.text.find("{words}"), std::string::npos) << one.text;
  }
}

TEST(TranslatorWithAShortlist, WritesTheUnknownTokenOnlyWhenAsked) {
  const auto unsure = unsure_model();
  const SourceLine line = {.text = "some words"};
  for (const bool allow : {false, true}) {
    TranslatorOptions options = small_options();
    options.shortlist = every(7);
    options.allow_unk = allow;
    const std::string text =
        LineTranslator(*unsure, small_vocabulary(), options).translate({&line, 1})[0].best[0].text;
    EXPECT_EQ(text.find("⁇") != std::string::npos, allow) << text;
  }
}

}  // namespace
}  // namespace chorus
