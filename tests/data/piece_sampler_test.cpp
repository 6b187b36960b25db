#include "data/piece_sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <thread>
#include <unordered_map>

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include "data/corpus.h"
#include "data/sentencepiece_model.h"

namespace chorus {
namespace {

using Cut = std::vector<int32_t>;

/// A vocabulary of 450 pieces, bytes among them, with the symbol <x> and the tag of en.
struct Trained {
  TemporaryFolder folder;
  Vocabulary vocabulary;
  sentencepiece::SentencePieceProcessor processor;

  explicit Trained(const std::string& type) : vocabulary(train(type)) {
    load(parse_sentencepiece_model(vocabulary.sentencepiece()), processor);
  }
  Vocabulary train(const std::string& type) const {
    write_lines(folder / "text", sentences("en", 300));
    const std::unordered_map<std::string, std::string> options{{"input", (folder / "text").string()},
                                                               {"model_prefix", (folder / type).string()},
                                                               {"model_type", type},
                                                               {"vocab_size", "450"},
                                                               {"byte_fallback", "true"},
                                                               {"user_defined_symbols", "__en__,<x>"},
                                                               {"minloglevel", "3"}};
    EXPECT_TRUE(sentencepiece::SentencePieceTrainer::Train(options).ok());
    return Vocabulary::load(folder / (type + ".model"));
  }
};

std::map<Cut, double> drawn(const Trained& trained, const std::string& text, double alpha, int count) {
  const PieceSampler sampler(trained.vocabulary);
  const Cut best = trained.vocabulary.encode(text);
  std::map<Cut, double> counts;
  for (int i = 0; i < count; ++i) ++counts[sampler.sample(best, alpha, RandomKey(3).derive(i))];
  return counts;
}

/// The same by SentencePiece.
std::map<Cut, double> drawn_by_sentencepiece(const Trained& trained, const std::string& text, double alpha,
                                             int count) {
  std::map<Cut, double> counts;
  sentencepiece::SetRandomGeneratorSeed(1);
  std::thread([&] {  // its generator is the thread's own, and takes the seed when it is made
    for (int i = 0; i < count; ++i) {
      Cut ids;
      ASSERT_TRUE(trained.processor.SampleEncode(text, -1, static_cast<float>(alpha), &ids).ok());
      for (int32_t& id : ids) ++id;
      ++counts[ids];
    }
  })
      .join();
  return counts;
}

/// Chi-square of two samples of one size: of rare outcomes the sum counts. In units of its deviation from its mean.
double distance(const std::map<Cut, double>& a, const std::map<Cut, double>& b) {
  std::map<Cut, std::pair<double, double>> both;
  for (const auto& [ids, n] : a) both[ids].first = n;
  for (const auto& [ids, n] : b) both[ids].second = n;
  std::pair<double, double> rare;
  double sum = 0, categories = 0;
  const auto add = [&](double x, double y) {
    if (x + y < 20) return false;
    sum += (x - y) * (x - y) / (x + y);
    ++categories;
    return true;
  };
  for (const auto& [ids, n] : both) {
    if (add(n.first, n.second)) continue;
    rare.first += n.first;
    rare.second += n.second;
  }
  add(rare.first, rare.second);
  EXPECT_GT(categories, 3);
  return (sum - categories + 1) / std::sqrt(2 * categories);
}

TEST(PieceSampler, DrawsAsSentencePieceDoes) {
  constexpr int kDraws = 20000;
  const std::string text = sentences("en", 1)[0].substr(0, 12);
  for (const char* type : {"unigram", "bpe"}) {
    const Trained trained(type);
    EXPECT_EQ(trained.vocabulary.is_bpe(), type == std::string("bpe"));
    for (const double alpha : {0.1, 0.5}) {
      const auto own = drawn(trained, text, alpha, kDraws),
                 theirs = drawn_by_sentencepiece(trained, text, alpha, kDraws);
      EXPECT_LT(distance(own, theirs), 4) << type << ", alpha " << alpha;
      const auto other = drawn_by_sentencepiece(trained, text, alpha + 0.05, kDraws);
      EXPECT_GT(distance(own, other), 4) << "the test tells nothing of " << type << ", alpha " << alpha;
    }
  }
}

TEST(PieceSampler, CutsHaveTheProbabilitiesOfTheUnigramModel) {
  const Trained trained("unigram");
  const std::string words = sentences("en", 1)[0].substr(0, 8);
  std::string marked = "▁";  // as SentencePiece has it
  for (const char ch : words) marked += ch == ' ' ? "▁" : std::string(1, ch);
  std::map<std::string, std::pair<int32_t, double>> pieces;
  const SentencePieceModel model = parse_sentencepiece_model(trained.vocabulary.sentencepiece());
  for (size_t i = 3; i < model.pieces.size(); ++i)
    if (model.pieces[i].type == SentencePieceModel::Type::normal)
      pieces[std::string(model.pieces[i].text)] = {static_cast<int32_t>(i) + 1, model.pieces[i].score};
  for (const double alpha : {0.0, 0.3, 1.0}) {
    std::map<Cut, double> weights;
    double sum = 0;
    const std::function<void(const std::string&, Cut, double)> cut = [&](const std::string& rest, Cut ids,
                                                                         double score) {
      if (rest.empty()) sum += weights[ids] = std::exp(alpha * score);
      for (size_t n = 1; n <= rest.size(); ++n) {
        const auto found = pieces.find(rest.substr(0, n));
        if (found == pieces.end()) continue;
        Cut more = ids;
        more.push_back(found->second.first);
        cut(rest.substr(n), more, score + found->second.second);
      }
    };
    cut(marked, {}, 0);
    ASSERT_GT(weights.size(), 3U);
    constexpr int kDraws = 20000;
    const auto counts = drawn(trained, words, alpha, kDraws);
    for (const auto& [ids, n] : counts) EXPECT_TRUE(weights.contains(ids));
    for (const auto& [ids, weight] : weights) {
      const double p = weight / sum, deviation = std::sqrt(kDraws * p * (1 - p));
      const auto found = counts.find(ids);
      EXPECT_NEAR(found == counts.end() ? 0 : found->second, kDraws * p, 5 * deviation + 1);
    }
  }
}

TEST(PieceSampler, KeepsTheTextAndWhatIsNoPlainPiece) {
  const std::string text = "abc <x>def ☃ __en__ ghi<x>";
  for (const char* type : {"unigram", "bpe"}) {
    const Trained trained(type);
    const PieceSampler sampler(trained.vocabulary);
    const Cut best = trained.vocabulary.encode(text);
    const auto special = [&](const Cut& ids) {
      Cut kept;
      for (const int32_t id : ids)
        if (trained.vocabulary.name_of(id).starts_with('<')) kept.push_back(id);
      return kept;
    };
    EXPECT_EQ(special(best).size(), 11U) << "two symbols, the bytes of a snowman and of a tag's name";
    int others = 0;
    for (uint64_t i = 0; i < 100; ++i) {
      const Cut ids = sampler.sample(best, 0.2, RandomKey(i));
      EXPECT_EQ(trained.vocabulary.decode(ids), text);
      EXPECT_EQ(special(ids), special(best));
      EXPECT_EQ(ids, sampler.sample(best, 0.2, RandomKey(i)));
      others += ids != best ? 1 : 0;
    }
    EXPECT_GT(others, 20);
    EXPECT_TRUE(sampler.sample({}, 0.2, RandomKey()).empty());
  }
}

TEST(PieceSampler, KeepsASymbolThatIsAPlainPiece) {
  for (const char* type : {"unigram", "bpe"}) {
    const Trained trained(type);
    int32_t id = kUnk + 1;  // of a piece that can be cut: of ASCII letters, and no word's first
    const auto can_be_cut = [&](const std::string& name) {
      return name.size() > 1 && std::ranges::all_of(name, [](char ch) { return ch >= 'a' && ch <= 'z'; });
    };
    while (id < trained.vocabulary.pieces_end() && !can_be_cut(trained.vocabulary.name_of(id))) ++id;
    ASSERT_LT(id, trained.vocabulary.pieces_end());
    const std::string symbol = trained.vocabulary.name_of(id);
    const Vocabulary vocabulary = trained.vocabulary.with_symbols(std::vector{symbol});
    ASSERT_EQ(vocabulary.size(), trained.vocabulary.size()) << "a piece already";
    const Cut best = vocabulary.encode("abc " + symbol + " abc");
    ASSERT_EQ(std::ranges::count(best, id), 1);
    const PieceSampler sampler(vocabulary), of_plain(trained.vocabulary);
    const double alpha = vocabulary.is_bpe() ? 0.5 : 0;  // of short pieces too, many are then cut
    int cut = 0;
    for (uint64_t i = 0; i < 100; ++i) {
      EXPECT_EQ(std::ranges::count(sampler.sample(best, alpha, RandomKey(i)), id), 1);
      cut += std::ranges::count(of_plain.sample(best, alpha, RandomKey(i)), id) == 0 ? 1 : 0;
    }
    EXPECT_GT(cut, 20) << "the test tells nothing";
  }
}

TEST(PieceSampler, AtItsEndsItIsPlain) {
  const Trained bpe("bpe"), unigram("unigram");
  const std::string text = sentences("en", 2)[1];
  const Cut best = bpe.vocabulary.encode(text);
  EXPECT_EQ(PieceSampler(bpe.vocabulary).sample(best, 0, RandomKey(1)), best);
  const Cut letters = PieceSampler(bpe.vocabulary).sample(best, 1, RandomKey(1));
  EXPECT_EQ(letters.size(), text.size() + 1) << "with the space before it";
  // So sharp a distribution has one cut.
  EXPECT_EQ(PieceSampler(unigram.vocabulary).sample(unigram.vocabulary.encode(text), 1e5, RandomKey(1)),
            unigram.vocabulary.encode(text));
}

TEST(PieceSampler, DrawsNoPieceThatTheModelLacks) {
  const Trained trained("bpe");
  // As M2M100 lists its pieces: without some of the SentencePiece model.
  VocabularyLayout layout = {.pieces = {"<s>", "<pad>", "</s>", "<unk>"}, .tags = {{"xx"}}};
  const SentencePieceModel model = parse_sentencepiece_model(trained.vocabulary.sentencepiece());
  for (size_t i = 3; i < model.pieces.size(); ++i)
    if (model.pieces[i].text != "a") layout.pieces.emplace_back(model.pieces[i].text);
  const Vocabulary listed = Vocabulary::load(trained.folder / "bpe.model", layout);
  const PieceSampler sampler(listed);
  for (const std::string& line : sentences("en", 30)) {
    const Cut best = listed.encode(line);
    for (uint64_t i = 0; i < 5; ++i) {
      const Cut ids = sampler.sample(best, 0.5, RandomKey(i));
      EXPECT_EQ(std::ranges::count(ids, int32_t{kUnk}), std::ranges::count(best, int32_t{kUnk}));
      EXPECT_EQ(listed.decode(ids), listed.decode(best));
    }
  }
}

}  // namespace
}  // namespace chorus
