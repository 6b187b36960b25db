// Translating and scoring on many ranks gives one process's lines, in its order.
#include "decode/translator.h"

#include <gtest/gtest.h>

#include "base/text.h"
#include "data/corpus.h"
#include "decode/fixtures.h"
#include "decode/scorer.h"
#include "ranks/ranks.h"

namespace chorus {
namespace {

Transformer& model() {
  static const auto made = [] {
    ModelConfig config = tiny_config();
    config.vocabulary = small_vocabulary().size();
    config.max_positions = 96;
    return opinionated_model(config, 2);
  }();
  return *made;
}

/// `count` sentences, every fifth line empty.
std::string text(const std::string& language, int64_t count, bool gaps) {
  std::string lines;
  int64_t number = 0;
  for (const std::string& sentence : sentences(language, count)) {
    if (gaps && ++number % 5 == 0) lines += '\n';
    lines += sentence + '\n';
  }
  return lines;
}

/// What rank 0 writes when the group, or (null) rank 0 alone, translates; "" on other ranks.
std::string translated(const std::string& source, StreamOptions stream, int64_t nbest, Group* group) {
  if (!group && ranks().rank() > 0) return {};
  const TemporaryFolder folder;
  std::optional<LineReader> reader, prefixes;
  if (ranks().rank() == 0) {
    write_text(folder / "in.txt", source);
    write_text(folder / "prefixes.txt", source);  // each line begins as its source
    reader.emplace(folder / "in.txt");
    prefixes.emplace(folder / "prefixes.txt");
    if (stream.prefix == "own") stream.prefixes = &*prefixes;
  }
  std::string out;
  stream.write = [&](std::string_view piece) { out += piece; };
  stream.group = group;
  const LineTranslator translator(
      model(), small_vocabulary(),
      {.from = "en", .to = "de", .decode = {.beam = 3, .nbest = nbest, .max_length_factor = 1}});
  translate_stream(translator, reader ? &*reader : nullptr, stream);
  return out;
}

/// The lines, and the scores behind the last "||| ": other sentences in a batch change them by rounding
/// alone.
void expect_alike(const std::string& one, const std::string& many) {
  const std::vector<std::string_view> a = split(one, '\n'), b = split(many, '\n');
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    const size_t end = a[i].rfind("||| ");
    EXPECT_EQ(a[i].substr(0, end), b[i].substr(0, end));
    if (end == std::string_view::npos || b[i].size() <= end) continue;
    EXPECT_NEAR(std::stod(std::string(a[i].substr(end + 4))), std::stod(std::string(b[i].substr(end + 4))),
                1e-4);
  }
}

TEST(RanksTranslate, TextAndOrderAreThoseOfOneProcess) {
  for (const int64_t count : {0, 1, 2, 30}) {
    for (const int64_t nbest : {1, 2}) {
      SCOPED_TRACE(fmt::format("{} lines, {} best", count, nbest));
      const std::string source = text("en", count, true);
      for (const char* prefix : {"", "own"}) {
        const StreamOptions stream = {.prefix = prefix, .window = 4};
        const std::string one = translated(source, stream, nbest, nullptr);
        expect_alike(one, translated(source, stream, nbest, &ranks()));
        EXPECT_EQ(one.empty(), ranks().rank() > 0 || count == 0);
      }
    }
  }
}

std::string scored(int64_t count, Group* group) {
  if (!group && ranks().rank() > 0) return {};
  const TemporaryFolder folder;
  std::optional<LineReader> source, target;
  if (ranks().rank() == 0) {
    write_text(folder / "source.txt", text("en", count, false));
    write_text(folder / "target.txt", text("de", count, false));
    source.emplace(folder / "source.txt");
    target.emplace(folder / "target.txt");
  }
  std::string out;
  score_stream(model(), small_vocabulary(), source ? &*source : nullptr, target ? &*target : nullptr,
               {.from = "en",
                .to = "de",
                .window = 4,
                .write = [&](std::string_view piece) { out += piece; },
                .group = group});
  return out;
}

TEST(RanksScore, ScoresAndOrderAreThoseOfOneProcess) {
  for (const int64_t count : {0, 1, 30}) {
    const std::string one = scored(count, nullptr), many = scored(count, &ranks());
    const std::vector<std::string_view> a = split(one, '\n'), b = split(many, '\n');
    ASSERT_EQ(a.size(), b.size());
    ASSERT_EQ(std::cmp_equal(a.size(), count + 1), ranks().rank() == 0 || count == 0);
    // Other pairs in a batch: by rounding alone.
    for (size_t i = 0; i + 1 < a.size(); ++i)
      EXPECT_NEAR(std::stod(std::string(a[i])), std::stod(std::string(b[i])), 1e-3);
  }
}

}  // namespace
}  // namespace chorus
