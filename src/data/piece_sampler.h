// Sentences cut into other pieces, at random, so that a model in training sees many spellings of a word: subword
// regularisation with a unigram model (Kudo, "Subword regularization", 2018) and BPE-dropout (Provilkov et al., 2020).
//
// The cuts have the probabilities of SentencePiece's SampleEncode. It draws from a generator of its own for each
// thread, which cannot be set again; here a cut is a function of a key.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "data/vocabulary.h"

namespace chorus::inline data {

class PieceSampler {
 public:
  explicit PieceSampler(const Vocabulary& vocabulary);

  /// The text of `ids`, which Vocabulary::encode() gave, in other pieces. Bytes, symbols, added words and <unk> stay.
  /// With a unigram model a cut's probability is in proportion to its own to the power of `alpha`: the less, the more
  /// they vary. With BPE each merge that comes up is left out with the probability `alpha`. Never an id that is not
  /// plain text. A pure function of its arguments, for any number of threads.
  [[nodiscard]] std::vector<int32_t> sample(std::span<const int32_t> ids, double alpha, RandomKey key) const;

 private:
  struct Piece {
    std::string text;
    int32_t id = 0;
    float score = 0;
  };
  /// Of a tree over the pieces' bytes. The children of one stand together.
  struct Node {
    int32_t first = 0, children = 0;
    int32_t piece = -1;  // index into pieces_, or -1
  };
  class Draws;

  void build_tree();
  [[nodiscard]] int32_t child(int32_t node, char byte) const;  // or -1
  [[nodiscard]] int32_t find(std::string_view text) const;     // the piece of that text, or -1
  void cut_unigram(std::string_view text, double alpha, Draws& draws, std::vector<int32_t>& out) const;
  bool cut_bpe(std::string_view text, double dropout, Draws& draws, std::vector<int32_t>& out) const;

  bool is_bpe_;
  std::vector<Piece> pieces_;      // the plain ones, by text
  std::vector<int32_t> piece_of_;  // of each id: index into pieces_, or -1
  std::vector<Node> nodes_;
  std::string bytes_;  // of each node: what leads there
};

}  // namespace chorus::inline data
