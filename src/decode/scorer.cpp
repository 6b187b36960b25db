#include "chorus/decode/scorer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/data/batch.h"
#include "chorus/data/batches.h"

#include "lines.h"

namespace chorus {

namespace {

int64_t longest_side(const SentencePair& pair) {
  return static_cast<int64_t>(std::max(pair.source.size(), pair.target.size())) + kTagAndEnd;
}

}  // namespace

std::vector<PairScore> score_pairs(Transformer& model, std::span<const SentencePair> pairs,
                                   int64_t batch_tokens) {
  std::vector<size_t> order(pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return longest_side(pairs[i]); });
  std::vector<PairScore> scores(pairs.size());
  for (size_t begin = 0; begin < order.size();) {
    const auto rows =
        std::clamp<size_t>(batch_tokens / longest_side(pairs[order[begin]]), 1, order.size() - begin);
    std::vector<SentencePair> batch;
    for (size_t row = 0; row < rows; ++row) batch.push_back(pairs[order[begin + row]]);
    const at::Tensor nll =
        model.evaluate(model.to_batch(make_batch(batch)), {.per_token = true, .dropless = true})
            .token_nll.to(at::kCPU, at::kDouble)
            .sum(1);
    for (size_t row = 0; row < rows; ++row) {
      const int64_t around = batch[row].target_tag == kNoTag ? 1 : kTagAndEnd;
      scores[order[begin + row]] = {-nll.const_data_ptr<double>()[row],
                                    static_cast<int64_t>(batch[row].target.size()) + around};
    }
    begin += rows;
  }
  return scores;
}

void score_stream(Transformer& model, const Vocabulary& vocabulary, LineReader& source, LineReader& target,
                  const ScoreOptions& options) {
  const int32_t source_tag = vocabulary.tag(options.from), target_tag = vocabulary.tag(options.to);
  const auto encode = [&](const LineReader& reader) {
    const std::string text = line_text(reader);
    check_utf8(text, place(reader));
    std::vector<int32_t> ids = vocabulary.encode(text);
    if (const int64_t most = model.config().max_positions; std::cmp_greater(ids.size() + kTagAndEnd, most))
      throw UserError("{}: {} tokens with tag and </s>, more than the model's {} positions", place(reader),
                      ids.size() + kTagAndEnd, most);
    return ids;
  };
  int64_t done = 0;
  std::vector<SentencePair> window;
  const auto write_window = [&] {
    std::string text;
    for (const PairScore& score : score_pairs(model, window, options.batch_tokens))
      text += fmt::format("{:.6f}\n", score.log_probability / std::pow(score.tokens, options.length_penalty));
    options.write(text);
    done += static_cast<int64_t>(window.size());
    if (options.progress) options.progress(done);
    window.clear();
  };
  for (;;) {
    const bool more = source.next();
    if (more != target.next()) {
      const LineReader& longer = more ? source : target;
      const LineReader& shorter = more ? target : source;
      throw UserError(
          "{} has {} lines, fewer than {}: line i of one is the translation of line i of the other",
          shorter.path().string(), shorter.number(), longer.path().string());
    }
    if (!more) break;
    window.push_back({.source = encode(source),
                      .target = encode(target),
                      .source_tag = source_tag,
                      .target_tag = target_tag});
    if (std::cmp_greater_equal(window.size(), options.window)) write_window();
  }
  if (!window.empty()) write_window();
}

}  // namespace chorus
