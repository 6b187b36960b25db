#include "decode/alignment.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "data/batches.h"
#include "decode/small_model.h"
#include "io/json.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

using Links = std::vector<WordLink>;

SentencePair pair_of(const std::string& source, const std::string& target) {
  return {.source = small_vocabulary().encode(source),
          .target = small_vocabulary().encode(target),
          .source_tag = small_vocabulary().tag("en"),
          .target_tag = small_vocabulary().tag("de")};
}

/// From the whole attention, by its definition.
Links plain_links(const SentencePair& pair, int64_t layer, int64_t head) {
  CrossAttention attention = {.block = small_model().catalogue().decoder[layer].block};
  small_model().evaluate(small_model().to_batch(make_batch({&pair, 1})),
                         {.dropless = true, .cross_attention = {&attention, 1}});
  const auto word = [&](const std::vector<int32_t>& pieces, size_t at) {
    int64_t words = 0;
    for (size_t i = 1; i <= at; ++i) words += small_vocabulary().name_of(pieces[i]).starts_with("▁") ? 1 : 0;
    return words;
  };
  std::map<int64_t, std::map<int64_t, double>> seen;
  for (size_t t = 0; t < pair.target.size(); ++t)
    for (size_t s = 0; s < pair.source.size(); ++s)
      for (int64_t h = 0; h < attention.weights.size(1); ++h)
        if (head < 0 || h == head)
          seen[word(pair.target, t)][word(pair.source, s)] +=
              attention.weights[0][h][static_cast<int64_t>(t) + 1][static_cast<int64_t>(s) + 1]
                  .item<double>();
  Links links;
  for (const auto& [target, of] : seen)
    links.emplace_back(std::ranges::max_element(of, {}, [](const auto& one) { return one.second; })->first,
                       target);
  return links;
}

TEST(AlignPairs, LinksEachWordToTheOneItLooksAtMost) {
  const std::vector<SentencePair> pairs = {pair_of("some words here and there", "more words of that kind"),
                                           pair_of("abc", "xyz some"),
                                           pair_of("a b c d e f g", "g f e d c b a")};
  std::vector<Links> of_all;
  for (const int64_t layer : {0, 1}) {
    for (const int64_t head : {-1, 0, 2}) {
      const std::vector<Links> together =
          align_pairs(small_model(), small_vocabulary(), pairs, {.layer = layer, .head = head}, 1000);
      const std::vector<Links> alone =
          align_pairs(small_model(), small_vocabulary(), pairs, {.layer = layer, .head = head}, 1);
      for (size_t i = 0; i < pairs.size(); ++i) {
        EXPECT_EQ(together[i], plain_links(pairs[i], layer, head)) << i;
        EXPECT_EQ(alone[i], together[i]);
      }
      of_all.push_back(together[2]);
    }
  }
  EXPECT_TRUE(std::ranges::any_of(of_all, [&](const Links& one) { return one != of_all[0]; }))
      << "layers and heads look at other words";
  EXPECT_EQ(align_pairs(small_model(), small_vocabulary(), pairs, {}, 1000)[2], of_all[0])
      << "the last but one";
  EXPECT_TRUE(align_pairs(small_model(), small_vocabulary(), {}, {}, 1000).empty());
  const std::vector<SentencePair> empty = {pair_of("", "a"), pair_of("a", "")};
  for (const Links& links : align_pairs(small_model(), small_vocabulary(), empty, {}, 1000))
    EXPECT_TRUE(links.empty());
  const auto refused = [&](const AlignmentOptions& options) {
    return message_of<UserError>(
        [&] { align_pairs(small_model(), small_vocabulary(), pairs, options, 1000); });
  };
  EXPECT_EQ(refused({.layer = 2}), "alignments by decoder layer 2: the model has 2 layers, from 0");
  EXPECT_EQ(refused({.head = 3}), "alignments by head 3: the model has 3 heads, from 0");
}

std::string aligned(const std::string& text, TranslatorOptions options, LineForm form = LineForm::text) {
  const TemporaryFolder folder;
  write_text(folder / "in.txt", text);
  LineReader reader(folder / "in.txt");
  std::string out;
  options.alignment = AlignmentOptions();
  translate_stream(LineTranslator(small_model(), small_vocabulary(), options), &reader,
                   {.form = form, .write = [&](std::string_view piece) { out += piece; }});
  return out;
}

std::string pharaoh(const Links& links) {
  std::string text = " |||";
  for (const auto& [source, target] : links) text += fmt::format(" {}-{}", source, target);
  return text;
}

TEST(Translator, AlignsWords) {
  const SourceLine line = {.text = "some words here"};
  const Translation best =
      LineTranslator(small_model(), small_vocabulary(), small_options()).translate({&line, 1})[0].best[0];
  const std::string out = aligned("some words here\n\n", small_options());
  const SentencePair pair = pair_of(line.text, best.text);
  ASSERT_EQ(lines_of(out).size(), 2U);
  EXPECT_TRUE(lines_of(out)[0].starts_with(best.text + " ||| ")) << out;
  EXPECT_EQ(lines_of(out)[1], " |||");
  std::string pieces;
  for (const ScoredPiece& one : best.pieces) pieces += one.piece + " ";
  std::string spelt;
  for (const int32_t id : pair.target) spelt += small_vocabulary().name_of(id) + " ";
  if (pieces.starts_with(spelt)) {
    EXPECT_EQ(lines_of(out)[0], best.text + pharaoh(plain_links(pair, 0, -1)));
  }

  const nlohmann::json json =
      parse_json(aligned("some words here\n", small_options(), LineForm::json), "output");
  EXPECT_TRUE(lines_of(out)[0].ends_with(pharaoh(json["translations"][0]["alignment"].get<Links>())));
}

TEST(Translator, AlignsWhatIsAsLongAsTheModelAllows) {
  TranslatorOptions options = small_options();
  options.decode.min_length = options.decode.max_length_offset = 96;  // its positions
  const nlohmann::json json = parse_json(aligned("some words\n", options, LineForm::json), "output");
  EXPECT_EQ(json["translations"][0]["tokens"].size(), 95U);
  EXPECT_FALSE(json["translations"][0]["alignment"].empty());
}

TEST(Translator, AlignsTheWordsOfAllParts) {
  TranslatorOptions options = small_options();
  options.sentences = true;
  const auto links = [&](const std::string& text) {
    const nlohmann::json json = parse_json(aligned(text + "\n", options, LineForm::json), "output");
    return std::pair(json["translations"][0]["alignment"].get<Links>(),
                     json["translations"][0]["text"].get<std::string>());
  };
  const auto [first, first_text] = links("Some words here.");
  const auto [second, second_text] = links("More of it!");
  const auto words = [](const std::string& text) {
    return 1 + std::ranges::count(std::string(trim(text)), ' ');
  };
  Links expected = first;
  for (const auto& [source, target] : second) expected.emplace_back(source + 3, target + words(first_text));
  EXPECT_EQ(links("  Some words here.  More of it!").first, expected);
}

}  // namespace
}  // namespace chorus
