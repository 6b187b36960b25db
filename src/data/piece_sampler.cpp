#include "data/piece_sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <queue>
#include <tuple>
#include <unordered_map>

#include "base/utf8.h"
#include "data/sentencepiece_model.h"

namespace chorus::inline data {

/// Uniform numbers of a key, one after the other.
class PieceSampler::Draws {
 public:
  explicit Draws(RandomKey key) : key_(key) {}
  double next() { return key_.uniform(index_++); }

 private:
  RandomKey key_;
  uint64_t index_ = 0;
};

PieceSampler::PieceSampler(const Vocabulary& vocabulary)
    : is_bpe_(vocabulary.is_bpe()), piece_of_(static_cast<size_t>(vocabulary.size()), -1) {
  const SentencePieceModel model = parse_sentencepiece_model(vocabulary.sentencepiece());
  std::unordered_map<std::string_view, float> scores;
  for (const SentencePieceModel::Piece& piece : model.pieces)
    if (piece.type == SentencePieceModel::Type::normal) scores.emplace(piece.text, piece.score);
  // A byte or one of T5's extra ids may be called like a piece: none of the two is drawn.
  std::unordered_map<std::string, int32_t> ids_called;
  for (int32_t id = kUnk + 1; id < vocabulary.pieces_end(); ++id)
    if (vocabulary.is_text(id)) ++ids_called[vocabulary.name_of(id)];
  const std::vector<AddedWord>& words = vocabulary.layout().words;  // of these, some may be plain pieces
  for (int32_t id = kUnk + 1; id < vocabulary.pieces_end(); ++id) {
    std::string text = vocabulary.name_of(id);
    const auto score = scores.find(text);
    if (score != scores.end() && vocabulary.is_text(id) && ids_called[text] == 1 &&
        std::ranges::find(words, id, &AddedWord::id) == words.end())
      pieces_.push_back({.text = std::move(text), .id = id, .score = score->second});
  }
  std::ranges::sort(pieces_, {}, &Piece::text);
  for (size_t i = 0; i < pieces_.size(); ++i) piece_of_[pieces_[i].id] = static_cast<int32_t>(i);
  build_tree();
}

void PieceSampler::build_tree() {
  struct Range {  // of the pieces that begin alike
    size_t begin, end, depth;
  };
  std::vector<Range> ranges = {{0, pieces_.size(), 0}};
  bytes_.assign(1, '\0');
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [begin, end, depth] = ranges[node];
    nodes_.push_back({.first = static_cast<int32_t>(ranges.size())});
    if (begin < end && pieces_[begin].text.size() == depth)
      nodes_[node].piece = static_cast<int32_t>(begin++);
    while (begin < end) {
      const char byte = pieces_[begin].text[depth];
      const size_t first = begin;
      while (begin < end && pieces_[begin].text[depth] == byte) ++begin;
      ranges.push_back({first, begin, depth + 1});
      bytes_.push_back(byte);
      ++nodes_[node].children;
    }
  }
}

int32_t PieceSampler::child(int32_t node, char byte) const {
  const Node& parent = nodes_[node];
  const char* const first = bytes_.data() + parent.first;
  const auto* const found = static_cast<const char*>(
      std::memchr(first, static_cast<unsigned char>(byte), static_cast<size_t>(parent.children)));
  return found == nullptr ? -1 : parent.first + static_cast<int32_t>(found - first);
}

int32_t PieceSampler::find(std::string_view text) const {
  int32_t node = 0;
  for (size_t i = 0; i < text.size() && node >= 0; ++i) node = child(node, text[i]);
  return node < 0 ? -1 : nodes_[node].piece;
}

std::vector<int32_t> PieceSampler::sample(std::span<const int32_t> ids, double alpha, RandomKey key) const {
  Draws draws(key);
  std::vector<int32_t> out;
  std::string text;
  for (size_t i = 0; i < ids.size();) {
    const size_t begin = i;
    text.clear();
    for (; i < ids.size() && piece_of_.at(ids[i]) >= 0; ++i) text += pieces_[piece_of_[ids[i]]].text;
    const size_t before = out.size();
    if (i == begin) {
      out.push_back(ids[i++]);
    } else if (!is_bpe_) {
      cut_unigram(text, alpha, draws, out);
    } else if (!cut_bpe(text, alpha, draws, out)) {
      out.resize(before);
      out.insert(out.end(), ids.begin() + static_cast<int64_t>(begin), ids.begin() + static_cast<int64_t>(i));
    }
  }
  return out;
}

// Sums over all cuts of what is before a place, then draws pieces from the end backwards.
void PieceSampler::cut_unigram(std::string_view text, double alpha, Draws& draws,
                               std::vector<int32_t>& out) const {
  struct Edge {  // a piece in the text
    size_t begin;
    int32_t piece;
    int32_t next;       // another that ends there, or -1
    double log_weight;  // of all cuts that end with it
  };
  constexpr double kNone = -std::numeric_limits<double>::infinity();
  std::vector<Edge> edges;
  std::vector<int32_t> last(text.size() + 1, -1);   // an edge that ends there
  std::vector<double> sum(text.size() + 1, kNone);  // log of the weights of all cuts of what is before
  sum[0] = 0;
  for (size_t begin = 0; begin < text.size(); ++begin) {
    if (sum[begin] == kNone) continue;
    int32_t node = 0;
    for (size_t end = begin; end < text.size();) {
      node = child(node, text[end++]);
      if (node < 0) break;
      const int32_t piece = nodes_[node].piece;
      if (piece < 0) continue;
      const double weight = sum[begin] + alpha * pieces_[piece].score;
      edges.push_back({.begin = begin, .piece = piece, .next = last[end], .log_weight = weight});
      last[end] = static_cast<int32_t>(edges.size()) - 1;
      const double larger = std::max(sum[end], weight), smaller = std::min(sum[end], weight);
      sum[end] = larger + std::log1p(std::exp(smaller - larger));
    }
  }
  const size_t before = out.size();
  for (size_t end = text.size(); end > 0;) {
    double left = draws.next();
    int32_t edge = last[end];
    for (; edges[edge].next >= 0; edge = edges[edge].next) {
      left -= std::exp(edges[edge].log_weight - sum[end]);
      if (left < 0) break;
    }
    out.push_back(pieces_[edges[edge].piece].id);
    end = edges[edge].begin;
  }
  std::reverse(out.begin() + static_cast<int64_t>(before), out.end());
}

// False where a character that is left alone is no piece.
bool PieceSampler::cut_bpe(std::string_view text, double dropout, Draws& draws,
                           std::vector<int32_t>& out) const {
  struct Symbol {  // characters that have become one; size 0: it is part of the one before
    size_t begin, size;
    int32_t before, after;  // or -1
  };
  struct Merge {
    float score;
    int32_t left, right;
    size_t size;  // of both
    bool operator<(const Merge& other) const {
      return score < other.score || (score == other.score && left > other.left);
    }
  };
  std::vector<Symbol> symbols;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    next_code_point(text, at);
    const auto i = static_cast<int32_t>(symbols.size());
    symbols.push_back(
        {.begin = begin, .size = at - begin, .before = i - 1, .after = at < text.size() ? i + 1 : -1});
  }
  std::priority_queue<Merge> merges;
  const auto add = [&](int32_t left, int32_t right) {
    if (left < 0 || right < 0) return;
    const size_t size = symbols[left].size + symbols[right].size;
    const int32_t piece = find(text.substr(symbols[left].begin, size));
    if (piece >= 0) merges.push({.score = pieces_[piece].score, .left = left, .right = right, .size = size});
  };
  for (int32_t i = 1; std::cmp_less(i, symbols.size()); ++i) add(i - 1, i);
  while (!merges.empty()) {
    const Merge merge = merges.top();
    merges.pop();
    Symbol &left = symbols[merge.left], &right = symbols[merge.right];
    const bool is_open = left.size > 0 && right.size > 0 && left.size + right.size == merge.size;
    if (!is_open || draws.next() < dropout) continue;
    left.size = merge.size;
    left.after = right.after;
    if (right.after >= 0) symbols[right.after].before = merge.left;
    right.size = 0;
    add(left.before, merge.left);
    add(merge.left, left.after);
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].after) {
    const int32_t piece = find(text.substr(symbols[i].begin, symbols[i].size));
    if (piece < 0) return false;
    out.push_back(pieces_[piece].id);
  }
  return true;
}

}  // namespace chorus::inline data
