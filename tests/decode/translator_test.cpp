#include "chorus/decode/translator.h"

#include <array>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "chorus/base/files.h"
#include "chorus/base/text.h"
#include "chorus/data/utf8.h"
#include "chorus/decode/scorer.h"

#include "data/corpus.h"
#include "data/t5_model.h"
#include "fixtures.h"

namespace chorus {
namespace {

Transformer& model() {
  static const auto made = [] {
    ModelConfig config = tiny_config();
    config.vocabulary = small_vocabulary().size() + 8;  // rows that nothing uses
    config.max_positions = 96;
    return opinionated_model(config, 2);
  }();
  return *made;
}

TranslatorOptions options(int64_t nbest = 1) {
  return {.from = "en", .to = "de", .decode = {.beam = 3, .nbest = nbest, .max_length_factor = 1}};
}

struct Streamed {
  std::string out;
  StreamReport report;
  std::string error;  // of a UserError
};

/// What translate_stream makes of a file of `text`.
Streamed stream_of(const std::string& text, const TranslatorOptions& translator, StreamOptions stream = {},
                   const std::string& prefixes = "") {
  const TemporaryFolder folder;
  write_text(folder / "in.txt", text);
  write_text(folder / "prefixes.txt", prefixes);
  LineReader reader(folder / "in.txt"), prefix_reader(folder / "prefixes.txt");
  if (!prefixes.empty()) stream.prefixes = &prefix_reader;
  Streamed streamed;
  stream.write = [&](std::string_view piece) { streamed.out += piece; };
  try {
    streamed.report = translate_stream(Translator(model(), small_vocabulary(), translator), &reader, stream);
  } catch (const UserError& error) {
    streamed.error = error.what();
  }
  return streamed;
}

std::string translated(const std::string& text, const TranslatorOptions& translator,
                       const StreamOptions& stream = {}, const std::string& prefixes = "") {
  const Streamed streamed = stream_of(text, translator, stream, prefixes);
  if (!streamed.error.empty()) throw UserError("{}", streamed.error);
  return streamed.out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (const std::string_view line : split(text, '\n')) lines.emplace_back(line);
  EXPECT_EQ(lines.back(), "") << "the last line ends as well";
  lines.pop_back();
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  return join(lines, "\n") + "\n";
}

TEST(Translator, GivesTheModelTagsPiecesAndPrefix) {
  const Vocabulary& vocabulary = small_vocabulary();
  const Translator translator(model(), vocabulary, options(3));
  DecodeInput input = {.source = vocabulary.encode("some words"), .forced = vocabulary.encode("abc")};
  input.source.insert(input.source.begin(), vocabulary.tag("en"));
  input.source.push_back(kEos);
  input.forced.insert(input.forced.begin(), vocabulary.tag("de"));
  const auto expected = decode(model(), {&input, 1}, translator.options().decode)[0];
  const SourceLine line = {.text = "some words", .prefix = "abc"};
  const std::vector<Translation> actual = translator.translate({&line, 1})[0].best;
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t rank = 0; rank < actual.size(); ++rank) {
    EXPECT_EQ(actual[rank].text, vocabulary.decode(expected[rank].tokens));
    EXPECT_EQ(actual[rank].score, expected[rank].score);
  }
}

TEST(TranslateStream, KeepsOrderAndBlankLines) {
  std::vector<std::string> lines = sentences("en", 30);
  lines[0] = lines[7] = lines[29] = "";
  lines[8] = " \t ";
  const std::vector<std::string> out = lines_of(translated(joined(lines), options()));
  ASSERT_EQ(out.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (trim(lines[i]).empty()) {
      EXPECT_EQ(out[i], "");
    } else {
      EXPECT_EQ(out[i] + "\n", translated(lines[i] + "\n", options())) << i;
    }
  }
  EXPECT_EQ(translated("", options()), "");
  EXPECT_EQ(translated("\n", options()), "\n");
}

TEST(TranslateStream, WindowsAndLineEndsDoNotMatter) {
  const std::vector<std::string> lines = sentences("en", 20);
  const std::string expected = translated(joined(lines), options());
  EXPECT_EQ(translated(join(lines, "\r\n"), options()), expected);
  std::vector<int64_t> progress;
  EXPECT_EQ(translated(joined(lines), options(),
                       {.window = 8, .progress = [&](int64_t done) { progress.push_back(done); }}),
            expected);
  EXPECT_EQ(progress, (std::vector<int64_t>{8, 16, 20}));
}

TEST(TranslateStream, WritesNBestListsInOrder) {
  const std::vector<std::string> lines = {"abc", "", "some words here"};
  const std::vector<std::string> out = lines_of(translated(joined(lines), options(3)));
  ASSERT_EQ(out.size(), 7U);
  EXPECT_EQ(out[3], "1 |||  ||| 0.000000");
  for (const size_t first : {0, 4}) {
    double before = 0;
    for (size_t i = first; i < first + 3; ++i) {
      EXPECT_TRUE(out[i].starts_with(first == 0 ? "0 ||| " : "2 ||| ")) << out[i];
      const double score = std::stod(out[i].substr(out[i].rfind("||| ") + 4));
      EXPECT_LE(score, before);
      before = score;
    }
  }
}

TEST(TranslateStream, WritesScores) {
  const std::string plain = translated("some words\n\n", options());
  const std::vector<std::string> out = lines_of(translated("some words\n\n", options(), {.scores = true}));
  EXPECT_EQ(out[0].substr(0, out[0].find('\t')) + "\n\n", plain);
  EXPECT_LT(std::stod(out[0].substr(out[0].find('\t') + 1)), 0);
  EXPECT_EQ(out[1], "\t0.000000");
}

TEST(TranslateStream, BeginsWithThePrefixes) {
  const std::string text = "some words\nmore\n";
  for (const std::string& line : lines_of(translated(text, options(), {.prefix = "abc de"})))
    EXPECT_TRUE(line.starts_with("abc de")) << line;
  const std::vector<std::string> out = lines_of(translated(text, options(), {}, "\nxyz\n"));
  EXPECT_EQ(out[0] + "\n", translated("some words\n", options()));
  EXPECT_TRUE(out[1].starts_with("xyz"));
  EXPECT_NE(message_of<UserError>([&] { translated(text, options(), {}, "xyz\n"); }).find("fewer"),
            std::string::npos);
  EXPECT_NE(message_of<UserError>([&] { translated(text, options(), {}, "a\nb\nc\n"); }).find("more lines"),
            std::string::npos);
}

TEST(TranslateStream, NamesTheLineItRefuses) {
  const std::string invalid = message_of<UserError>([] { translated("fine\nnot \xFF fine\n", options()); });
  EXPECT_NE(invalid.find("in.txt:2: byte 5 (0xff) is not UTF-8"), std::string::npos) << invalid;
  const std::string line = join(sentences("en", 20), ". ");
  TranslatorOptions whole = options();
  whole.long_lines = LongLines::refuse;
  const std::string too_long = message_of<UserError>([&] { translated("fine\n\n" + line, whole); });
  EXPECT_NE(too_long.find("in.txt:3: "), std::string::npos) << too_long;
  EXPECT_NE(too_long.find("more than the 96 allowed"), std::string::npos) << too_long;
  const std::string huge = message_of<UserError>([] { translated(std::string(100'000, 'x'), options()); });
  EXPECT_NE(huge.find("in.txt:1: a line of more than 64 KiB"), std::string::npos) << huge;
}

TEST(TranslateStream, SplitsLongLines) {
  TranslatorOptions split_lines = options(2);
  split_lines.max_source = 16;
  const std::vector<std::string> text = sentences("en", 6);
  const std::vector<std::string> out =
      lines_of(translated("short\n" + join(text, ". ") + "\nshort\n", split_lines));
  ASSERT_EQ(out.size(), 6U);
  EXPECT_EQ(out[0], "0" + out[4].substr(1));
  TranslatorOptions one = options();
  one.max_source = 16;
  EXPECT_EQ(lines_of(translated(join(text, ". ") + "\n", one)).size(), 1U);
}

TEST(TranslateStream, InventsNothingWhereNothingIsToTranslate) {
  const std::string nothing =
      "\u200d\n\u200e\u200f\n\x01\n\u00ad\ufffd\n\u0300\n\u3164\n\ufffc\n\u2581\n\U000e0001\n";
  EXPECT_EQ(translated("abc\n" + nothing + "abc\n", options()),
            translated("abc\n\n\n\n\n\n\n\n\n\nabc\n", options()));
  EXPECT_EQ(translated("\u200c\n", options(2), {}, "abc\n"), "0 |||  ||| 0.000000\n");
  TranslatorOptions sentence_by_sentence = options();
  sentence_by_sentence.sentences = true;
  EXPECT_EQ(translated(nothing, sentence_by_sentence), "\n\n\n\n\n\n\n\n\n");
}

TEST(TranslateStream, DoesWithBadLinesAsItIsTold) {
  const std::string text = "some words\nnot \xFF\xFE fine\n\nmore words\n",
                    stop = translated("some words\n", options());
  const std::string rest = translated("\nmore words\n", options());
  const auto streamed = [&](OnError on_error, int64_t nbest = 1) {
    TranslatorOptions translator = options(nbest);
    translator.on_error = on_error;
    return stream_of(text, translator);
  };
  EXPECT_EQ(streamed(OnError::stop).out, stop);
  const std::string fault = streamed(OnError::stop).error;
  EXPECT_NE(fault.find("in.txt:2: byte 5 (0xff) is not UTF-8; --on-error"), std::string::npos) << fault;
  EXPECT_EQ(streamed(OnError::skip).out, stop + rest);
  EXPECT_EQ(streamed(OnError::blank).out, stop + "\n" + rest);
  EXPECT_EQ(streamed(OnError::replace).out, stop + translated("not \uFFFD\uFFFD fine\n", options()) + rest);
  for (const OnError on_error : {OnError::skip, OnError::blank, OnError::replace}) {
    const StreamReport report = streamed(on_error).report;
    EXPECT_EQ(report.lines, 4);
    EXPECT_EQ(report.faults.count, 1);
    EXPECT_NE(report.faults.text().find("in.txt:2: byte 5 (0xff)"), std::string::npos);
  }
  const std::vector<std::string> skipped = lines_of(streamed(OnError::skip, 2).out),
                                 blank = lines_of(streamed(OnError::blank, 2).out);
  ASSERT_EQ(skipped.size(), 5U);
  EXPECT_TRUE(skipped[1].starts_with("0 ||| ") && skipped[2].starts_with("2 ||| ")) << skipped[2];
  EXPECT_EQ(blank[2], "1 |||  ||| 0.000000");
}

TEST(TranslateStream, DoesSoWithWhatIsTooLongAndWithBadPrefixes) {
  TranslatorOptions translator = options();
  translator.long_lines = LongLines::refuse;
  translator.on_error = OnError::replace;
  const std::string line = join(sentences("en", 20), " ");
  const Streamed too_long =
      stream_of("abc\n" + line + "\n" + std::string(100'000, 'x') + "\nabc\n", translator);
  EXPECT_EQ(too_long.out, translated("abc\n\n\nabc\n", options()));
  EXPECT_EQ(too_long.report.faults.count, 2);
  EXPECT_NE(too_long.report.faults.text().find("in.txt:3: a line of more than 64 KiB"), std::string::npos);

  const std::string bad = "abc\nxy\xFF\n" + line + line + "\n" + std::string(100'000, 'x') + "\n\n";
  const Streamed prefixed = stream_of("a b\na b\na b\na b\na b\n", translator, {}, bad);
  EXPECT_EQ(prefixed.out, translated("a b\na b\n\n\na b\n", options(), {}, "abc\nxy\uFFFD\n\n\n\n"));
  EXPECT_EQ(prefixed.report.faults.count, 3);
  const std::string faults = prefixed.report.faults.text();
  EXPECT_NE(faults.find("prefixes.txt:2: byte 3 (0xff) is not UTF-8"), std::string::npos) << faults;
  EXPECT_NE(faults.find("prefixes.txt:3: a prefix of "), std::string::npos) << faults;
  EXPECT_NE(faults.find("prefixes.txt:4: a line of more than 64 KiB"), std::string::npos) << faults;
  translator.on_error = OnError::stop;
  const Streamed stopped = stream_of("a b\na b\n", translator, {}, bad);
  EXPECT_EQ(stopped.out, translated("a b\n", options(), {}, "abc\n"));
  EXPECT_NE(stopped.error.find("prefixes.txt:2: byte 3 (0xff)"), std::string::npos) << stopped.error;
}

TEST(TranslateStream, WritesWhatComesBeforeTheEndOfItsPrefixes) {
  const Streamed streamed = stream_of("abc\nabc\nabc\n", options(), {}, "x\ny\n");
  EXPECT_EQ(streamed.out, translated("abc\nabc\n", options(), {}, "x\ny\n"));
  EXPECT_NE(streamed.error.find("fewer than"), std::string::npos);
}

TEST(TranslateStream, AnswersBeforeMoreIsSent) {
  std::array<int, 2> pipe{};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const auto send = [&](std::string_view text) {
    ASSERT_EQ(::write(pipe[1], text.data(), text.size()), std::ssize(text));
  };
  send("abc\nsome words\nmo");
  std::string out;
  std::vector<int64_t> windows;
  StreamOptions stream;
  stream.write = [&](std::string_view text) { out += text; };
  stream.progress = [&](int64_t done) {
    windows.push_back(done);
    if (done == 2) send("re\n");
    if (done == 3) ::close(pipe[1]);
  };
  LineReader reader("/dev/fd/" + std::to_string(pipe[0]));
  translate_stream(Translator(model(), small_vocabulary(), options()), &reader, stream);
  ::close(pipe[0]);
  EXPECT_EQ(windows, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(out, translated("abc\nsome words\nmore\n", options()));
}

TEST(TranslateStream, TranslatesSentenceBySentence) {
  TranslatorOptions translator = options();
  translator.sentences = true;
  const auto one = [&](const std::string& text) {
    const std::string line = translated(text + "\n", options());
    return line.substr(0, line.size() - 1);
  };
  EXPECT_EQ(translated("  Some words.  More!\u2029\u3000Abc? \n", translator),
            "  " + one("Some words.") + "  " + one("More!") + "\u2029\u3000" + one("Abc?") + " \n");
  EXPECT_EQ(translated("One line\n", translator), translated("One line\n", options()));
  EXPECT_EQ(translated("你好。再见。\n", translator), one("你好。") + " " + one("再见。") + "\n");
  const std::string prefixed = translated("Some words. More!\n", translator, {.prefix = "abc"});
  EXPECT_TRUE(prefixed.starts_with("abc") && prefixed.ends_with(" " + one("More!") + "\n")) << prefixed;
  translator.decode.nbest = 2;
  EXPECT_EQ(lines_of(translated("Some words. More!\n", translator)).size(), 2U);
}

/// One whose most probable token is always the same.
std::unique_ptr<Transformer> model_that_repeats(int32_t token) {
  auto repeating = opinionated_model(model().config(), 2);
  const Catalogue& catalogue = repeating->catalogue();
  const at::Tensor row = repeating->parameters()[catalogue.embedding].value[token];
  repeating->set(catalogue.decoder_norm.bias, row / row.norm() * 5);
  return repeating;
}

TEST(Translator, CountsLoopsAndDecodesThemAgainWhenAsked) {
  const auto repeating = model_that_repeats(small_vocabulary().encode("abc").back());
  const std::vector<SourceLine> lines = {{.text = "some words", .where = "a:1"},
                                         {.text = "", .where = "a:2"}};
  TranslatorOptions translator = options();
  const auto plain = Translator(*repeating, small_vocabulary(), translator).translate(lines);
  EXPECT_TRUE(plain[0].looped);
  EXPECT_FALSE(plain[1].looped);
  EXPECT_FALSE(Translator(model(), small_vocabulary(), translator).translate(lines)[0].looped);
  translator.guard = true;
  const auto guarded = Translator(*repeating, small_vocabulary(), translator).translate(lines);
  EXPECT_TRUE(guarded[0].looped);
  translator.guard = false;
  translator.decode.no_repeat_ngram = 3;
  const auto expected = Translator(*repeating, small_vocabulary(), translator).translate(lines);
  EXPECT_EQ(guarded[0].best[0].text, expected[0].best[0].text);
  EXPECT_NE(guarded[0].best[0].text, plain[0].best[0].text);
  EXPECT_FALSE(expected[0].looped);
}

TEST(Translator, WritesTheUnknownTokenOnlyWhenAsked) {
  const auto unsure = opinionated_model(model().config(), 2);
  const Catalogue& catalogue = unsure->catalogue();
  const at::Tensor unknown = unsure->parameters()[catalogue.embedding].value[kUnk];
  unsure->set(catalogue.decoder_norm.bias, unknown / unknown.norm() * 5);  // most probable everywhere
  const SourceLine line = {.text = "some words"};
  for (const bool allow : {false, true}) {
    TranslatorOptions unk = options();
    unk.allow_unk = allow;
    const std::string text =
        Translator(*unsure, small_vocabulary(), unk).translate({&line, 1})[0].best[0].text;
    EXPECT_EQ(text.find("⁇") != std::string::npos, allow) << text;
  }
}

TEST(TranslateStream, StandsAbsurdInput) {
  std::string many = "a";
  for (int i = 1; i < 10000; ++i) many += " a";
  const std::vector<std::string> lines = {"",
                                          " \t\u00a0\u3000",
                                          many,
                                          std::string(5000, 'x'),
                                          "😀👍🏽👨‍👩‍👧🇫🇷",
                                          {"\0\x01\x02\x1b[0m\x7f", 8},
                                          "\u200b\u202e\ufeff\ufffd",
                                          "</s> <unk> __de__ <0x0A>"};
  TranslatorOptions absurd = options();
  absurd.decode.beam = 2;
  const std::vector<std::string> out = lines_of(translated(joined(lines), absurd));
  ASSERT_EQ(out.size(), lines.size());
  EXPECT_EQ(out[0], "");
  EXPECT_EQ(out[1], "");
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_TRUE(is_valid_utf8(out[i]));
    // Parts of at most 96 tokens, each translated into as many and 30 more, of at most 16 bytes each.
    const size_t parts = lines[i].size() / 40 + 1;
    EXPECT_LE(out[i].size(), parts * (96 + 30) * 16) << i;
  }
}

TEST(Translator, RefusesUnknownLanguagesAndLengths) {
  const auto refused = [](const TranslatorOptions& wrong) {
    return message_of<UserError>([&] { Translator(model(), small_vocabulary(), wrong); });
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
    const Findings found = score_stream(model(), small_vocabulary(), &source_reader, &target_reader, score);
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
  EXPECT_NE(refused("a\nb\n", "a\n").find("target.txt has 1 lines, fewer than"), std::string::npos);
  EXPECT_NE(refused("a\n", "a\nb\n").find("source.txt has 1 lines, fewer than"), std::string::npos);
  EXPECT_NE(refused("a\n", "\xC0\n").find("target.txt:1: byte 1"), std::string::npos);
  EXPECT_NE(refused("a\n" + join(sentences("en", 20), " ") + "\n", "a\nb\n").find("source.txt:2: "),
            std::string::npos);
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
  const Translator translator(model, vocabulary, options);
  const std::vector<SourceLine> lines = {{.text = "the park"}, {.text = "walks in the park", .prefix = "in"}};
  const auto translations = translator.translate(lines);
  for (size_t i = 0; i < lines.size(); ++i) {
    DecodeInput input = {.source = vocabulary.encode(lines[i].text),
                         .forced = vocabulary.encode(lines[i].prefix),
                         .tagged = false};
    input.source.push_back(kEos);
    const std::vector<Hypothesis> expected = decode(model, {&input, 1}, translator.options().decode)[0];
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
  EXPECT_THROW(Translator(model, vocabulary, options), UserError);
}

}  // namespace
}  // namespace chorus
