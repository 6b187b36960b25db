#include <array>
#include <numeric>

#include <unistd.h>

#include "base/error.h"
#include "base/utf8.h"
#include "decode/small_model.h"
#include "decode/translator.h"

namespace chorus {
namespace {

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
    streamed.report =
        translate_stream(LineTranslator(small_model(), small_vocabulary(), translator), &reader, stream);
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

TEST(TranslateStream, KeepsOrderAndBlankLines) {
  std::vector<std::string> lines = sentences("en", 30);
  lines[0] = lines[7] = lines[29] = "";
  lines[8] = " \t ";
  const std::vector<std::string> out = lines_of(translated(joined(lines), small_options()));
  ASSERT_EQ(out.size(), lines.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    if (trim(lines[i]).empty()) {
      EXPECT_EQ(out[i], "");
    } else {
      EXPECT_EQ(out[i] + "\n", translated(lines[i] + "\n", small_options())) << i;
    }
  }
  EXPECT_EQ(translated("", small_options()), "");
  EXPECT_EQ(translated("\n", small_options()), "\n");
}

TEST(TranslateStream, WindowsAndLineEndsDoNotMatter) {
  const std::vector<std::string> lines = sentences("en", 20);
  const std::string expected = translated(joined(lines), small_options());
  EXPECT_EQ(translated(join(lines, "\r\n"), small_options()), expected);
  std::vector<int64_t> progress;
  EXPECT_EQ(translated(joined(lines), small_options(),
                       {.window = 8, .progress = [&](int64_t done) { progress.push_back(done); }}),
            expected);
  EXPECT_EQ(progress, (std::vector<int64_t>{8, 16, 20}));
  progress.clear();
  TranslatorOptions one_by_one = small_options();
  one_by_one.decode.batch_tokens = 1;
  EXPECT_EQ(translated(joined(lines), one_by_one,
                       {.window = 8, .progress = [&](int64_t done) { progress.push_back(done); }}),
            expected);
  std::vector<int64_t> each(20);
  std::iota(each.begin(), each.end(), 1);
  EXPECT_EQ(progress, each) << "within a window, too";
}

TEST(TranslateStream, WritesNBestListsInOrder) {
  const std::vector<std::string> lines = {"abc", "", "some words here"};
  const std::vector<std::string> out = lines_of(translated(joined(lines), small_options(3)));
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
  const std::string plain = translated("some words\n\n", small_options());
  const std::vector<std::string> out =
      lines_of(translated("some words\n\n", small_options(), {.form = LineForm::scores}));
  EXPECT_EQ(out[0].substr(0, out[0].find('\t')) + "\n\n", plain);
  EXPECT_LT(std::stod(out[0].substr(out[0].find('\t') + 1)), 0);
  EXPECT_EQ(out[1], "\t0.000000");
}

TEST(TranslateStream, BeginsWithThePrefixes) {
  const std::string text = "some words\nmore\n";
  for (const std::string& line : lines_of(translated(text, small_options(), {.prefix = "abc de"})))
    EXPECT_TRUE(line.starts_with("abc de")) << line;
  const std::vector<std::string> out = lines_of(translated(text, small_options(), {}, "\nxyz\n"));
  EXPECT_EQ(out[0] + "\n", translated("some words\n", small_options()));
  EXPECT_TRUE(out[1].starts_with("xyz"));
  EXPECT_NE(message_of<UserError>([&] { translated(text, small_options(), {}, "xyz\n"); }).find("fewer"),
            std::string::npos);
  EXPECT_NE(
      message_of<UserError>([&] { translated(text, small_options(), {}, "a\nb\nc\n"); }).find("more lines"),
      std::string::npos);
}

TEST(TranslateStream, NamesTheLineItRefuses) {
  const std::string invalid =
      message_of<UserError>([] { translated("fine\nnot \xFF fine\n", small_options()); });
  EXPECT_NE(invalid.find("in.txt:2: byte 5 (0xff) is not UTF-8"), std::string::npos) << invalid;
  const std::string line = join(sentences("en", 20), ". ");
  TranslatorOptions whole = small_options();
  whole.long_lines = LongLines::refuse;
  const std::string too_long = message_of<UserError>([&] { translated("fine\n\n" + line, whole); });
  EXPECT_NE(too_long.find("in.txt:3: "), std::string::npos) << too_long;
  EXPECT_NE(too_long.find("more than the 96 allowed"), std::string::npos) << too_long;
  const std::string huge =
      message_of<UserError>([] { translated(std::string(100'000, 'x'), small_options()); });
  EXPECT_NE(huge.find("in.txt:1: a line of more than 64 KiB"), std::string::npos) << huge;
}

TEST(TranslateStream, SplitsLongLines) {
  TranslatorOptions split_lines = small_options(2);
  split_lines.max_source = 16;
  const std::vector<std::string> text = sentences("en", 6);
  const std::vector<std::string> out =
      lines_of(translated("short\n" + join(text, ". ") + "\nshort\n", split_lines));
  ASSERT_EQ(out.size(), 6U);
  EXPECT_EQ(out[0], "0" + out[4].substr(1));
  TranslatorOptions one = small_options();
  one.max_source = 16;
  EXPECT_EQ(lines_of(translated(join(text, ". ") + "\n", one)).size(), 1U);
}

TEST(TranslateStream, InventsNothingWhereNothingIsToTranslate) {
  const std::string nothing =
      "\u200d\n\u200e\u200f\n\x01\n\u00ad\ufffd\n\u0300\n\u3164\n\ufffc\n\u2581\n\U000e0001\n";
  EXPECT_EQ(translated("abc\n" + nothing + "abc\n", small_options()),
            translated("abc\n\n\n\n\n\n\n\n\n\nabc\n", small_options()));
  EXPECT_EQ(translated("\u200c\n", small_options(2), {}, "abc\n"), "0 |||  ||| 0.000000\n");
  TranslatorOptions sentence_by_sentence = small_options();
  sentence_by_sentence.sentences = true;
  EXPECT_EQ(translated(nothing, sentence_by_sentence), "\n\n\n\n\n\n\n\n\n");
}

TEST(TranslateStream, DoesWithBadLinesAsItIsTold) {
  const std::string text = "some words\nnot \xFF\xFE fine\n\nmore words\n",
                    stop = translated("some words\n", small_options());
  const std::string rest = translated("\nmore words\n", small_options());
  const auto streamed = [&](OnError on_error, int64_t nbest = 1) {
    TranslatorOptions translator = small_options(nbest);
    translator.on_error = on_error;
    return stream_of(text, translator);
  };
  EXPECT_EQ(streamed(OnError::stop).out, stop);
  const std::string fault = streamed(OnError::stop).error;
  EXPECT_NE(fault.find("in.txt:2: byte 5 (0xff) is not UTF-8; --on-error"), std::string::npos) << fault;
  EXPECT_EQ(streamed(OnError::skip).out, stop + rest);
  EXPECT_EQ(streamed(OnError::blank).out, stop + "\n" + rest);
  EXPECT_EQ(streamed(OnError::replace).out,
            stop + translated("not \uFFFD\uFFFD fine\n", small_options()) + rest);
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
  TranslatorOptions translator = small_options();
  translator.long_lines = LongLines::refuse;
  translator.on_error = OnError::replace;
  const std::string line = join(sentences("en", 20), " ");
  const Streamed too_long =
      stream_of("abc\n" + line + "\n" + std::string(100'000, 'x') + "\nabc\n", translator);
  EXPECT_EQ(too_long.out, translated("abc\n\n\nabc\n", small_options()));
  EXPECT_EQ(too_long.report.faults.count, 2);
  EXPECT_NE(too_long.report.faults.text().find("in.txt:3: a line of more than 64 KiB"), std::string::npos);

  const std::string bad = "abc\nxy\xFF\n" + line + line + "\n" + std::string(100'000, 'x') + "\n\n";
  const Streamed prefixed = stream_of("a b\na b\na b\na b\na b\n", translator, {}, bad);
  EXPECT_EQ(prefixed.out, translated("a b\na b\n\n\na b\n", small_options(), {}, "abc\nxy\uFFFD\n\n\n\n"));
  EXPECT_EQ(prefixed.report.faults.count, 3);
  const std::string faults = prefixed.report.faults.text();
  EXPECT_NE(faults.find("prefixes.txt:2: byte 3 (0xff) is not UTF-8"), std::string::npos) << faults;
  EXPECT_NE(faults.find("prefixes.txt:3: a prefix of "), std::string::npos) << faults;
  EXPECT_NE(faults.find("prefixes.txt:4: a line of more than 64 KiB"), std::string::npos) << faults;
  translator.on_error = OnError::stop;
  const Streamed stopped = stream_of("a b\na b\n", translator, {}, bad);
  EXPECT_EQ(stopped.out, translated("a b\n", small_options(), {}, "abc\n"));
  EXPECT_NE(stopped.error.find("prefixes.txt:2: byte 3 (0xff)"), std::string::npos) << stopped.error;
}

TEST(TranslateStream, WritesWhatComesBeforeTheEndOfItsPrefixes) {
  const Streamed streamed = stream_of("abc\nabc\nabc\n", small_options(), {}, "x\ny\n");
  EXPECT_EQ(streamed.out, translated("abc\nabc\n", small_options(), {}, "x\ny\n"));
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
  translate_stream(LineTranslator(small_model(), small_vocabulary(), small_options()), &reader, stream);
  ::close(pipe[0]);
  EXPECT_EQ(windows, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(out, translated("abc\nsome words\nmore\n", small_options()));
}

TEST(TranslateStream, TranslatesSentenceBySentence) {
  TranslatorOptions translator = small_options();
  translator.sentences = true;
  const auto one = [&](const std::string& text) {
    const std::string line = translated(text + "\n", small_options());
    return line.substr(0, line.size() - 1);
  };
  EXPECT_EQ(translated("  Some words.  More!\u2029\u3000Abc? \n", translator),
            "  " + one("Some words.") + "  " + one("More!") + "\u2029\u3000" + one("Abc?") + " \n");
  EXPECT_EQ(translated("One line\n", translator), translated("One line\n", small_options()));
  EXPECT_EQ(translated("你好。再见。\n", translator), one("你好。") + " " + one("再见。") + "\n");
  const std::string prefixed = translated("Some words. More!\n", translator, {.prefix = "abc"});
  EXPECT_TRUE(prefixed.starts_with("abc") && prefixed.ends_with(" " + one("More!") + "\n")) << prefixed;
  translator.decode.nbest = 2;
  EXPECT_EQ(lines_of(translated("Some words. More!\n", translator)).size(), 2U);
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
  TranslatorOptions absurd = small_options();
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

}  // namespace
}  // namespace chorus
