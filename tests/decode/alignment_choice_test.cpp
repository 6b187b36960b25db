#include "decode/alignment_choice.h"

#include <algorithm>
#include <set>

#include "decode/small_model.h"
#include "temporary_folder.h"

#include "decode/internal/word_pairs.h"

namespace chorus {
namespace {

using Links = std::vector<WordLink>;

std::vector<SentencePair> some_pairs(int64_t count) {
  std::vector<SentencePair> pairs;
  const auto sources = sentences("en", count), targets = sentences("de", count);
  for (int64_t i = 0; i < count; ++i)
    pairs.push_back({.source = small_vocabulary().encode(sources[i]),
                     .target = small_vocabulary().encode(targets[i]),
                     .source_tag = small_vocabulary().tag("en"),
                     .target_tag = small_vocabulary().tag("de")});
  return pairs;
}

const AlignmentScore& best_of(const std::vector<AlignmentScore>& scores) {
  return *std::ranges::min_element(scores, {}, &AlignmentScore::error);
}

TEST(AlignmentChoice, FindsTheLayerAndHeadWhoseLinksAreGiven) {
  const std::vector<SentencePair> pairs = some_pairs(12);
  const int64_t heads = small_model().config().attention_heads;
  for (const AlignmentOptions& wanted : {AlignmentOptions{1, 2}, {0, -1}, {1, -1}, {0, 0}}) {
    std::vector<GoldLinks> gold;
    for (const Links& links : align_pairs(small_model(), small_vocabulary(), pairs, wanted, 1000))
      gold.push_back({.sure = links, .possible = links});
    int64_t done = 0;
    const std::vector<AlignmentScore> scores = score_alignments(
        small_model(), small_vocabulary(), pairs, gold, 300, [&](int64_t count) { done = count; });
    ASSERT_EQ(std::ssize(scores), 2 * (1 + heads));
    EXPECT_EQ(done, 12);
    EXPECT_EQ(best_of(scores).layer, wanted.layer);
    EXPECT_EQ(best_of(scores).head, wanted.head);
    EXPECT_NEAR(best_of(scores).error, 0, 1e-12);
    EXPECT_EQ(std::ranges::count_if(scores, [](const AlignmentScore& one) { return one.error < 0.02; }), 1);
  }
}

TEST(AlignmentChoice, TheErrorRateIsThatOfItsDefinition) {
  const std::vector<SentencePair> pairs = some_pairs(6);
  const std::vector<GoldLinks> gold(pairs.size(), {.sure = {{0, 0}}, .possible = {{0, 0}, {1, 1}, {0, 1}}});
  for (const AlignmentScore& score : score_alignments(small_model(), small_vocabulary(), pairs, gold, 300)) {
    const auto links = align_pairs(small_model(), small_vocabulary(), pairs,
                                   {.layer = score.layer, .head = score.head}, 300);
    double sure = 0, possible = 0, all = 0, wanted = 0;
    for (size_t i = 0; i < pairs.size(); ++i) {
      all += static_cast<double>(links[i].size());
      wanted += static_cast<double>(gold[i].sure.size());
      for (const WordLink& link : links[i]) {
        sure += std::ranges::count(gold[i].sure, link) > 0 ? 1 : 0;
        possible += std::ranges::count(gold[i].possible, link) > 0 ? 1 : 0;
      }
    }
    EXPECT_NEAR(score.error, 1 - (sure + possible) / (all + wanted), 1e-12)
        << score.layer << " " << score.head;
  }
}

TEST(AlignmentChoice, IsWhatAlignPairsTakes) {
  ModelConfig config = small_model().config();
  config.alignment_layer = 1;
  config.alignment_head = 2;
  const std::unique_ptr<Transformer> chosen = opinionated_model(config, 2);
  const std::vector<SentencePair> pairs = some_pairs(5);
  const auto links = [&](Transformer& model, const AlignmentOptions& options) {
    return align_pairs(model, small_vocabulary(), pairs, options, 1000);
  };
  EXPECT_EQ(links(*chosen, {}), links(small_model(), {.layer = 1, .head = 2}));
  EXPECT_EQ(links(*chosen, {.head = 0}), links(small_model(), {.layer = 1, .head = 0}));
  EXPECT_EQ(links(*chosen, {.layer = 0}), links(small_model(), {.layer = 0}));
  EXPECT_NE(links(*chosen, {}), links(small_model(), {}));
}

TEST(WordPairs, AreThoseThatAreMetTogether) {
  // Words 10 + i and 20 + i belong together, in any order; 15 comes with nobody, and 31 stands in every target.
  std::vector<WordPair> pairs;
  std::vector<Links> expected;
  for (uint64_t i = 0; i < 40; ++i) {
    const RandomKey key(i);
    const uint64_t a = key.below(0, 5), b = (a + 1 + key.below(1, 4)) % 5;
    pairs.push_back({.source = {10 + a, 10 + b}, .target = {20 + b, 31, 20 + a}});
    expected.push_back({{1, 0}, {0, 2}});
  }
  pairs.push_back({.source = {}, .target = {20}});
  pairs.push_back({.source = {10}, .target = {}});
  expected.resize(pairs.size());
  EXPECT_EQ(sure_links(pairs), expected);
  // Of a word that is there twice nobody knows which is meant.
  pairs.push_back({.source = {10, 12, 10}, .target = {20, 22, 20}});
  expected.push_back({{1, 1}});
  EXPECT_EQ(sure_links(pairs), expected);
  EXPECT_TRUE(sure_links({}).empty());
}

TEST(AlignmentChoice, CountsTellFromTextAlone) {
  std::vector<SentencePair> pairs;
  const std::vector<std::string> words = {"abc", "defg", "hi", "jklmn", "opq", "rst"};
  std::vector<Links> expected;
  for (uint64_t i = 0; i < 60; ++i) {
    const RandomKey key(i);
    const uint64_t a = key.below(0, 6), b = (a + 1 + key.below(1, 5)) % 6;
    pairs.push_back({.source = small_vocabulary().encode(words[a] + " " + words[b]),
                     .target = small_vocabulary().encode("x" + words[b] + " x" + words[a])});
    expected.push_back({{1, 0}, {0, 1}});
  }
  const std::vector<GoldLinks> gold = links_by_counts(small_vocabulary(), pairs);
  for (size_t i = 0; i < pairs.size(); ++i) {
    EXPECT_EQ(gold[i].sure, expected[i]);
    EXPECT_EQ(gold[i].possible, expected[i]);
  }
  EXPECT_NE(message_of<UserError>([&] {
              links_by_counts(small_vocabulary(), std::span(pairs).first(1));
            }).find("too little"),
            std::string::npos);
}

TEST(GoldLinks, AreReadAsPharaohWritesThem) {
  const GoldLinks gold = parse_links("0-0  2?1 10p3");
  EXPECT_EQ(gold.sure, (Links{{0, 0}}));
  EXPECT_EQ(gold.possible, (Links{{0, 0}, {2, 1}, {10, 3}}));
  EXPECT_TRUE(parse_links("").possible.empty());
  for (const char* wrong : {"0", "0-", "-1", "0-0x", "a-b", "0:0", "1--1", "99999999999999999999-0", "0 -0"})
    EXPECT_THROW(parse_links(wrong), Error) << wrong;

  const TemporaryFolder folder;
  const std::vector<SentencePair> pairs = {
      {.source = small_vocabulary().encode("ab cd"), .target = small_vocabulary().encode("ef")},
      {.source = small_vocabulary().encode("ab"), .target = small_vocabulary().encode("cd ef")}};
  const auto read = [&](const std::string& text) {
    write_text(folder / "gold", text);
    return read_gold(folder / "gold", small_vocabulary(), pairs);
  };
  EXPECT_EQ(read("0-0 1-0\r\n0-1\r\n")[1].sure, (Links{{0, 1}}));
  const auto refusal = [&](const std::string& text) { return message_of<UserError>([&] { read(text); }); };
  EXPECT_NE(refusal("0-0\n0-2\n").find("gold, line 2: the link 0-2"), std::string::npos);
  EXPECT_NE(refusal("0-1\n0-0\n").find("is the source first?"), std::string::npos);
  EXPECT_NE(refusal("0-0\nx\n").find("gold, line 2: 'x' is no link"), std::string::npos);
  for (const char* text : {"", "0-0\n", "0-0\n\n0-0\n"})
    EXPECT_NE(refusal(text).find("the text 2 pairs"), std::string::npos) << text;
  EXPECT_NE(refusal("\n \n").find("gold has no link in any line"), std::string::npos);
  EXPECT_EQ(read("\n0?0\n")[1].possible, (Links{{0, 0}}));
}

}  // namespace
}  // namespace chorus
