#include "decode/translator.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>

#include "data/t5_model.h"
#include "decode/scorer.h"
#include "decode/small_model.h"
#include "io/files.h"

namespace chorus {
namespace {

TEST(Translator, GivesTheModelTagsPiecesAndPrefix) {
  const Vocabulary& vocabulary = small_vocabulary();
  const LineTranslator translator(small_model(), vocabulary, small_options(3));
  DecodeInput input = {.source = vocabulary.encode("some words"), .forced = vocabulary.encode("abc")};
  input.source.insert(input.source.begin(), vocabulary.tag("en"));
  input.source.push_back(kEos);
  input.forced.insert(input.forced.begin(), vocabulary.tag("de"));
  const auto expected =
      beam_search(*make_step_decoder(small_model()), {&input, 1}, translator.options().decode)[0];
  const SourceLine line = {.text = "some words", .prefix = "abc"};
  const std::vector<Translation> actual = translator.translate({&line, 1})[0].best;
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t rank = 0; rank < actual.size(); ++rank) {
    EXPECT_EQ(actual[rank].text, vocabulary.decode(expected[rank].tokens));
    EXPECT_EQ(actual[rank].score, expected[rank].score);
  }
}

/// One whose most probable token is always the same.
std::unique_ptr<Transformer> model_that_repeats(int32_t token) {
  auto repeating = opinionated_model(small_model().config(), 2);
  const Catalogue& catalogue = repeating->catalogue();
  const at::Tensor row = repeating->parameters()[catalogue.embedding].value[token];
  repeating->set(catalogue.decoder_norm.bias, row / row.norm() * 5);
  return repeating;
}

TEST(Translator, CountsLoopsAndDecodesThemAgainWhenAsked) {
  const auto repeating = model_that_repeats(small_vocabulary().encode("abc").back());
  const std::vector<SourceLine> lines = {{.text = "some words", .where = "a:1"},
                                         {.text = "", .where = "a:2"}};
  TranslatorOptions translator = small_options();
  const auto plain = LineTranslator(*repeating, small_vocabulary(), translator).translate(lines);
  EXPECT_TRUE(plain[0].looped);
  EXPECT_FALSE(plain[1].looped);
  EXPECT_FALSE(LineTranslator(small_model(), small_vocabulary(), translator).translate(lines)[0].looped);
  translator.guard = true;
  const auto guarded = LineTranslator(*repeating, small_vocabulary(), translator).translate(lines);
  EXPECT_TRUE(guarded[0].looped);
  translator.guard = false;
  translator.decode.no_repeat_ngram = 3;
  const auto expected = LineTranslator(*repeating, small_vocabulary(), translator).translate(lines);
  EXPECT_EQ(guarded[0].best[0].text, expected[0].best[0].text);
  EXPECT_NE(guarded[0].best[0].text, plain[0].best[0].text);
  EXPECT_FALSE(expected[0].looped);
}

TEST(Translator, WritesTheUnknownTokenOnlyWhenAsked) {
  const auto unsure = unsure_model();
  const SourceLine line = {.text = "some words"};
  for (const bool allow : {false, true}) {
    TranslatorOptions unk = small_options();
    unk.allow_unk = allow;
    const std::string text =
        LineTranslator(*unsure, small_vocabulary(), unk).translate({&line, 1})[0].best[0].text;
    EXPECT_EQ(text.find("⁇") != std::string::npos, allow) << text;
  }
}

TEST(Translator, RefusesUnknownLanguagesAndLengths) {
  const auto refused = [](const TranslatorOptions& wrong) {
    return message_of<UserError>([&] { LineTranslator(small_model(), small_vocabulary(), wrong); });
  };
  EXPECT_NE(refused({.from = "english", .to = "de"}).find("'english'"), std::string::npos);
  EXPECT_NE(refused({.from = "en", .to = "dee"}).find("did you mean 'de'"), std::string::npos);
  EXPECT_NE(refused({.from = "en", .to = "de", .max_source = 97}).find("97"), std::string::npos);
  EXPECT_NE(refused({.from = "en", .to = "de", .max_source = 2}).find("outside"), std::string::npos);
}

TEST(NeverChosen, ListsWhatIsNoText) {
  const Vocabulary& vocabulary = small_vocabulary();
  EXPECT_EQ(never_chosen(vocabulary, 602), (std::vector<int32_t>{kBos, kPad, kUnk, 4, 5, 6, 600, 601}));
  const Vocabulary more =
      vocabulary.with_tags(std::vector<std::string>{"cs", std::string(kMask), task_tag("denoise")});
  EXPECT_EQ(never_chosen(more, more.size()),
            (std::vector<int32_t>{kBos, kPad, kUnk, 4, 5, 6, 600, 601, 602}));
}

std::string scored(const std::string& source, const std::string& target, ScoreOptions score = {},
                   Findings* empty = nullptr, std::string* error = nullptr) {
  const TemporaryFolder folder;
  write_text(folder / "source.txt", source);
  write_text(folder / "target.txt", target);
  LineReader source_reader(folder / "source.txt"), target_reader(folder / "target.txt");
  std::string out;
  score.from = "en";
  score.to = "de";
  score.write = [&](std::string_view piece) { out += piece; };
  try {
    const Findings found =
        score_stream(small_model(), small_vocabulary(), &source_reader, &target_reader, score);
    if (empty) *empty = found;
  } catch (const UserError& caught) {
    if (!error) throw;
    *error = caught.what();
  }
  return out;
}

TEST(ScoreStream, GivesALineAPairWhateverTheWindow) {
  const std::string source = joined(sentences("en", 25)), target = joined(sentences("de", 25));
  const std::vector<std::string> out = lines_of(scored(source, target));
  ASSERT_EQ(out.size(), 25U);
  for (const std::string& line : out) EXPECT_LT(std::stod(line), 0);
  const std::vector<std::string> small = lines_of(scored(source, target, {.batch_tokens = 50, .window = 4}));
  const std::vector<std::string> normalised = lines_of(scored(source, target, {.length_penalty = 1}));
  const std::vector<std::string> texts = sentences("de", 25);
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_NEAR(std::stod(small[i]), std::stod(out[i]), 1e-3);
    const auto tokens = static_cast<double>(small_vocabulary().encode(texts[i]).size() + 2);
    EXPECT_NEAR(std::stod(normalised[i]), std::stod(out[i]) / tokens, 1e-3);
  }
  EXPECT_EQ(scored("", ""), "");
}

TEST(ScoreStream, TellsOfLinesWithNothingToTranslate) {
  Findings empty;
  EXPECT_EQ(lines_of(scored("a\n\u200d\nb\n", "a\nb\n\n", {}, &empty)).size(), 3U);
  EXPECT_EQ(empty.count, 2);
  EXPECT_NE(empty.text().find("source.txt:2; "), std::string::npos) << empty.text();
  EXPECT_NE(empty.text().find("target.txt:3"), std::string::npos) << empty.text();
}

TEST(ScoreStream, WritesWhatComesBeforeAnError) {
  std::string error;
  EXPECT_EQ(scored("a\nb\n\xC0\nc\n", "a\nb\nc\nd\n", {}, nullptr, &error), scored("a\nb\n", "a\nb\n"));
  EXPECT_NE(error.find("source.txt:3: byte 1"), std::string::npos) << error;
}

TEST(ScoreStream, NamesWhatItRefuses) {
  const auto refused = [](const std::string& source, const std::string& target) {
    return message_of<UserError>([&] { scored(source, target); });
  };
  EXPECT_NE(refused("a\nb\n", "a\n").find("target.txt has 1 line, fewer than"), std::string::npos);
  EXPECT_NE(refused("a\n", "a\nb\n").find("source.txt has 1 line, fewer than"), std::string::npos);
  EXPECT_NE(refused("a\n", "\xC0\n").find("target.txt:1: byte 1"), std::string::npos);
  EXPECT_NE(refused("a\n" + join(sentences("en", 20), " ") + "\n", "a\nb\n").find("source.txt:2: "),
            std::string::npos);
}

TEST(Translator, PutsTheTargetsTagOnTheSourceWhereTheVocabularySaysSo) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "pieces.model", small_vocabulary().sentencepiece());
  const Vocabulary vocabulary = Vocabulary::load(folder / "pieces.model", {.target_tag_on_source = true});
  ModelConfig config = tiny_config();
  config.vocabulary = vocabulary.size();
  Transformer model(config, {});
  initialise(model, 3);
  const TranslatorOptions options = {
      .to = "de", .decode = {.beam = 2, .nbest = 2, .max_length_factor = 0, .max_length_offset = 8}};
  const std::string text = sentences("en", 1)[0];
  DecodeInput input = {.source = vocabulary.encode(text), .forced = {}, .tagged = false};
  input.source.insert(input.source.begin(), vocabulary.tag("de"));
  input.source.push_back(kEos);
  const std::vector<Hypothesis> expected =
      beam_search(*make_step_decoder(model), {&input, 1}, options.decode)[0];
  const SourceLine line = {.text = text};
  const auto translated = LineTranslator(model, vocabulary, options).translate({&line, 1});
  ASSERT_EQ(translated[0].best.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(translated[0].best[i].text, vocabulary.decode(expected[i].tokens));
    EXPECT_EQ(translated[0].best[i].score, expected[i].score);
  }
}

TEST(Translator, TheBestOfALineInPartsHaveTheLargestSums) {
  TranslatorOptions options = small_options(3);
  options.sentences = true;
  const LineTranslator translator(small_model(), small_vocabulary(), options);
  const std::vector<SourceLine> lines = {{.text = "These are some words."},
                                         {.text = "Nothing more."},
                                         {.text = "These are some words. Nothing more."}};
  const auto translated = translator.translate(lines);
  std::vector<std::pair<double, std::string>> sums;
  for (const Translation& a : translated[0].best)
    for (const Translation& b : translated[1].best)
      sums.emplace_back(-(a.score + b.score), a.text + " " + b.text);
  std::ranges::stable_sort(sums, {}, &std::pair<double, std::string>::first);
  ASSERT_EQ(translated[2].best.size(), 3U);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(translated[2].best[i].score, -sums[i].first, 1e-5) << i;
    EXPECT_EQ(translated[2].best[i].text, sums[i].second) << i;
  }
}

TEST(Translator, WithoutLanguagesHasNoTagsAndScoresAsTheScorerDoes) {
  const TemporaryFolder folder;
  write_file_atomically(folder / "spiece.model", t5_model());
  const Vocabulary vocabulary = Vocabulary::load(folder / "spiece.model", {.extra_ids = 3});
  ModelConfig config = switch_config();
  config.vocabulary = vocabulary.size() + 2;
  Transformer model(config, {});
  at::manual_seed(4);
  for (size_t i = 0; i < model.parameters().size(); ++i)
    model.set(i, at::randn(model.catalogue().parameters[i].shape) * 0.7);
  TranslatorOptions options = {
      .decode = {.beam = 4, .nbest = 4, .max_length_factor = 0, .max_length_offset = 8}};
  const LineTranslator translator(model, vocabulary, options);
  const std::vector<SourceLine> lines = {{.text = "the park"}, {.text = "walks in the park", .prefix = "in"}};
  const auto translations = translator.translate(lines);
  for (size_t i = 0; i < lines.size(); ++i) {
    DecodeInput input = {.source = vocabulary.encode(lines[i].text),
                         .forced = vocabulary.encode(lines[i].prefix),
                         .tagged = false};
    input.source.push_back(kEos);
    const std::vector<Hypothesis> expected =
        beam_search(*make_step_decoder(model), {&input, 1}, translator.options().decode)[0];
    ASSERT_EQ(translations[i].best.size(), expected.size());
    for (size_t rank = 0; rank < expected.size(); ++rank) {
      EXPECT_EQ(translations[i].best[rank].text, vocabulary.decode(expected[rank].tokens));
      if (!expected[rank].ended || i > 0) continue;  // a prefix counts in a score of its own
      const SentencePair pair = {.source = vocabulary.encode(lines[i].text),
                                 .target = expected[rank].tokens,
                                 .source_tag = kNoTag,
                                 .target_tag = kNoTag};
      const PairScore score = score_pairs(model, {&pair, 1}, 1000)[0];
      EXPECT_EQ(score.tokens, static_cast<int64_t>(expected[rank].tokens.size()) + 1);
      EXPECT_NEAR(score.log_probability / static_cast<double>(score.tokens), expected[rank].score, 1e-5);
    }
  }
  EXPECT_EQ(translations[1].best[0].text.substr(0, 2), "in");
  options.to = "de";
  EXPECT_THROW(LineTranslator(model, vocabulary, options), UserError);
}

}  // namespace
}  // namespace chorus
