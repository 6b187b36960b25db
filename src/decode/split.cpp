#include "split.h"

#include "chorus/data/utf8.h"

namespace chorus {

namespace {

constexpr std::u32string_view kWideSentenceEnds = U"。！？｡";  // no space follows
constexpr std::u32string_view kSentenceEnds = U".!?…؟।";

bool contains(std::u32string_view set, char32_t c) {
  return set.find(c) != std::u32string_view::npos;
}

/// The place to cut `text` in two: between sentences, if such a place lies in its middle half; else between
/// words there; else between words anywhere; else between characters. Of these the one nearest to the middle.
/// 0: there is none.
size_t place_to_cut(std::string_view text) {
  size_t best = 0;
  int best_rank = -1;
  const size_t half = text.size() / 2;
  const auto distance = [&](size_t place) { return place > half ? place - half : half - place; };
  char32_t before = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t here = at;
    const char32_t next = next_code_point(text, at);
    if (here > 0) {
      const bool word = is_space(next) && !is_space(before);
      const bool sentence = (word && contains(kSentenceEnds, before)) || contains(kWideSentenceEnds, before);
      const bool middle = distance(here) <= text.size() / 4;
      const int rank = sentence && middle ? 3 : word && middle ? 2 : sentence || word ? 1 : 0;
      if (best == 0 || rank > best_rank || (rank == best_rank && distance(here) < distance(best))) {
        best = here;
        best_rank = rank;
      }
    }
    before = next;
  }
  return best;
}

void split(std::string_view text, bool space, const std::function<bool(std::string_view)>& fits,
           std::vector<TextPart>& parts) {
  const size_t cut = fits(text) ? 0 : place_to_cut(text);
  if (cut == 0) {
    parts.push_back({text, space});
    return;
  }
  const std::string_view left = trim_space(text.substr(0, cut)), right = trim_space(text.substr(cut));
  split(left, space, fits, parts);
  split(right, left.size() + right.size() < text.size(), fits, parts);
}

}  // namespace

std::vector<TextPart> split_text(std::string_view text, const std::function<bool(std::string_view)>& fits) {
  std::vector<TextPart> parts;
  if (const std::string_view whole = trim_space(text); !whole.empty()) split(whole, false, fits, parts);
  return parts;
}

}  // namespace chorus
