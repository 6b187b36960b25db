#include "data/shortlist.h"

#include <algorithm>
#include <fstream>

#include "data/corpus.h"
#include "data/sources.h"
#include "io/files.h"
#include "io/safetensors.h"

namespace chorus {
namespace {

using Lists = std::map<std::string, std::vector<int32_t>>;

PieceCounts counts_of(const std::string& files) {
  const std::vector<SourceConfig> sources = {{.files = files}};
  return count_pieces(find_sources(sources, "text", {.among = {}, .least = 1}), small_vocabulary());
}

TEST(Shortlist, CountsThePiecesOfEachLanguage) {
  const TemporaryFolder folder;
  const Vocabulary& vocabulary = small_vocabulary();
  for (const char* language : {"de", "en"}) write_lines(folder / language, sentences(language, 5000));
  const PieceCounts counts = counts_of((folder / "{lang}").string());
  ASSERT_EQ(counts.size(), 2U);
  for (const char* language : {"de", "en"}) {
    std::vector<int64_t> expected(vocabulary.size());
    for (const std::string& line : sentences(language, 5000))
      for (const int32_t piece : vocabulary.encode(line)) ++expected[piece];
    EXPECT_EQ(counts.at(language), expected);
  }
}

TEST(Shortlist, PassesOverWhatIsNoText) {
  const TemporaryFolder folder;
  write_text(folder / "text.de",
             "abc\r\n\n  \nab\xff"
             "c\n\n");
  const PieceCounts counts = counts_of((folder / "text.{lang}").string());
  std::vector<int64_t> expected(small_vocabulary().size());
  for (const int32_t piece : small_vocabulary().encode("abc")) ++expected[piece];
  EXPECT_EQ(counts.at("de"), expected);
  write_text(folder / "text.xx", "abc\n");
  EXPECT_NE(message_of<UserError>([&] { counts_of((folder / "text.{lang}").string()); }).find("'xx'"),
            std::string::npos);
}

/// Pieces of the small vocabulary that are in a list whatever the text is.
std::vector<int32_t> spelling(const std::string& more = "") {
  const Vocabulary& vocabulary = small_vocabulary();
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    std::string name = vocabulary.name_of(id);
    if (!vocabulary.is_text(id)) continue;
    if (name.starts_with("▁")) name = name.substr(3);
    const bool ascii = name.size() == 1 && name[0] > ' ' && name[0] < 127;
    if (name.empty() || name.starts_with("<0x") || ascii || name == more) ids.push_back(id);
  }
  return ids;
}

TEST(Shortlist, HasTheMostFrequentPiecesAndWhatSpells) {
  const Vocabulary& vocabulary = small_vocabulary();
  const std::vector<int32_t> always = spelling();
  EXPECT_GE(std::ssize(always), 256 + 26) << "bytes and letters";
  std::vector<int64_t> counts(vocabulary.size());
  std::vector<int32_t> others;  // pieces of several characters
  for (int32_t id = 0; id < vocabulary.size() && others.size() < 5; ++id)
    if (vocabulary.is_text(id) && !std::ranges::binary_search(always, id)) others.push_back(id);
  for (size_t i = 0; i < others.size(); ++i) counts[others[i]] = static_cast<int64_t>(10 * (i + 1));
  counts[others[3]] = counts[others[2]];  // of equal ones the first
  counts[kUnk] = 1000;
  const auto list = [&](const ShortlistLimits& limits) {
    std::vector<int32_t> made = make_shortlist(vocabulary, counts, limits), rest;
    EXPECT_TRUE(std::ranges::is_sorted(made));
    EXPECT_TRUE(std::ranges::includes(made, always));
    std::ranges::set_difference(made, always, std::back_inserter(rest));
    return rest;
  };
  EXPECT_EQ(list({.top = 0, .least = 0}), others);
  EXPECT_EQ(list({.top = 2, .least = 1}), (std::vector<int32_t>{others[2], others[4]}));
  EXPECT_EQ(list({.top = 0, .least = 30}), (std::vector<int32_t>{others[2], others[3], others[4]}));
  EXPECT_EQ(list({.top = 3, .least = 31}), (std::vector<int32_t>{others[4]}));

  const ShortlistCoverage found =
      coverage(vocabulary, make_shortlist(vocabulary, counts, {.top = 2, .least = 1}), counts);
  EXPECT_EQ(found.tokens, 10 + 20 + 30 + 30 + 50) << "without unk";
  EXPECT_EQ(found.covered, 30 + 50);
}

TEST(Shortlist, ComesBackAsItWasWritten) {
  const TemporaryFolder folder;
  const Lists lists = {{"de", spelling()}, {"fr", {spelling()[3]}}};
  write_shortlists(folder / "list", small_vocabulary(), lists);
  for (const auto& [language, list] : lists)
    EXPECT_EQ(read_shortlist(folder / "list", small_vocabulary(), language), list);
}

TEST(Shortlist, RefusesWhatIsNotOne) {
  const TemporaryFolder folder;
  const Vocabulary& vocabulary = small_vocabulary();
  const std::filesystem::path file = folder / "list";
  const auto refused = [&](const std::string& language = "de") {
    const std::string message = message_of<UserError>([&] { read_shortlist(file, vocabulary, language); });
    EXPECT_NE(message.find(file.string()), std::string::npos) << message;
    return message;
  };
  EXPECT_NE(refused(), "") << "none is there";
  const int32_t a = spelling().front(), b = spelling().back();
  write_shortlists(file, vocabulary, {{"en", {a, b}}});
  EXPECT_NE(refused().find("no list for 'de', only for en"), std::string::npos);
  for (const std::vector<int32_t>& wrong :
       std::vector<std::vector<int32_t>>{{},
                                         {b, a},
                                         {a, a},
                                         {kUnk},
                                         {kEos},
                                         {-1},
                                         {1 << 30},
                                         {static_cast<int32_t>(vocabulary.size())},
                                         {vocabulary.tag("de")}}) {
    write_shortlists(file, vocabulary, {{"de", wrong}});
    EXPECT_NE(refused().find("must be token ids of text"), std::string::npos);
  }
  const Vocabulary other = vocabulary.with_tags(std::vector<std::string>{"cs"});
  write_shortlists(file, other, {{"de", {a, b}}});
  EXPECT_NE(refused().find("another vocabulary"), std::string::npos);
  {
    SafetensorsWriter writer(file, {{"de", DType::f32, {2}}}, {{"vocabulary", hash_text(vocabulary.hash())}});
    const std::vector<float> floats = {1, 2};
    writer.write("de", std::as_bytes(std::span(floats)));
    writer.commit();
  }
  EXPECT_NE(refused().find("must be token ids of text"), std::string::npos);
  SafetensorsWriter(file, {}, {}).commit();
  EXPECT_NE(refused().find("is no shortlist"), std::string::npos);

  write_shortlists(file, vocabulary, {{"de", spelling()}});
  const std::string whole = read_file(file);
  for (size_t bytes = 0; bytes < whole.size(); bytes += 7) {
    write_text(file, whole.substr(0, bytes));
    EXPECT_NE(refused(), "") << bytes;
  }
  std::string damaged = whole;
  damaged[damaged.size() - 4] ^= 1;
  write_text(file, damaged);
  EXPECT_NE(refused(), "");
}

}  // namespace
}  // namespace chorus
