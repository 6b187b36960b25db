#include "decode/internal/batch.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include "base/error.h"
#include "base/text.h"
#include "kernels/decoding.h"

namespace chorus::inline decode {

namespace {

at::Tensor to_tensor(const std::vector<int64_t>& values, at::Device device) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(values.size())}, at::kLong);
  std::ranges::copy(values, tensor.mutable_data_ptr<int64_t>());
  return tensor.to(device);
}

/// One batch of sentences, decoded together: row b x width + i is the i-th hypothesis of sentence b.
class BatchDecoder {
 public:
  BatchDecoder(const StepDecoder& model, const DecodeOptions& options, const SearchKind& kind,
               std::vector<std::unique_ptr<Search>> searches)
      : model_(model), options_(options), kind_(kind), searches_(std::move(searches)) {}

  /// Hands each finished search to `finish`.
  void run(const std::function<void(Search&)>& finish) {
    const Side source = encoder_input();
    int64_t room = 0;
    for (const auto& search : searches_) room = std::max(room, search->limit());
    const std::unique_ptr<Decoding> decoding =
        model_.start(model_.encode(source), source.attention_mask, room, kind_.width, candidates());
    int64_t width = 1;
    std::vector<int64_t> ids(searches_.size(), model_.config().decoder_start);
    while (!searches_.empty()) {
      if (options_.before_step) options_.before_step();
      extend(decoding->step(to_tensor(ids, model_.device())), width);
      const auto [rows, sentences] = next_rows(width, ids, finish);
      if (!sentences.empty() && !(is_all(rows, row_count_) && is_all(sentences, sentence_count_))) {
        decoding->reorder(to_tensor(rows, model_.device()), is_all(sentences, sentence_count_)
                                                                ? at::Tensor()
                                                                : to_tensor(sentences, model_.device()));
      }
    }
  }

 private:
  Side encoder_input() const {
    size_t length = 0;
    for (const auto& search : searches_) length = std::max(length, search->input().source.size());
    std::vector<int32_t> ids;
    for (const auto& search : searches_) {
      const std::vector<int32_t>& source = search->input().source;
      ids.insert(ids.end(), source.begin(), source.end());
      ids.resize(ids.size() + length - source.size(), kPad);
    }
    return model_.make_side(ids, std::ssize(searches_), static_cast<int64_t>(length));
  }

  /// Returns the candidates of each sentence, or none.
  [[nodiscard]] std::vector<Candidates> candidates() const {
    std::vector<Candidates> all;
    if (is_restricted())
      for (const auto& search : searches_) all.push_back(search->input().candidates);
    return all;
  }
  [[nodiscard]] bool is_restricted() const { return searches_.front()->input().candidates.shared != nullptr; }

  /// Extends every hypothesis by one token.
  void extend(const at::Tensor& logits, int64_t width) {
    row_count_ = static_cast<size_t>(logits.size(0));
    sentence_count_ = searches_.size();
    const int64_t k = std::min(kind_.best, logits.size(1));
    const bool choosing = std::ranges::any_of(searches_, [](const auto& s) { return !s->is_forced(); });
    BestTokens best;
    at::Tensor all;
    if (choosing) {
      static const std::vector<int32_t> kNone;
      best = best_tokens(logits, is_restricted() ? kNone : options_.never, banned(width), k, penalty(width));
      if (is_restricted()) to_tokens(best.tokens, width);
      if (kind_.logits) all = logits.to(at::kCPU).contiguous();
    }
    for (size_t b = 0; b < searches_.size(); ++b) {
      if (searches_[b]->is_forced()) {
        searches_[b]->force();
        continue;
      }
      const int64_t row = static_cast<int64_t>(b) * width;
      searches_[b]->choose(
          {.best = k,
           .tokens = best.tokens.const_data_ptr<int64_t>() + row * k,
           .log_probabilities = best.log_probabilities.const_data_ptr<float>() + row * k,
           .columns = logits.size(1),
           .logits = kind_.logits ? all.const_data_ptr<float>() + row * all.size(1) : nullptr,
           .candidates = &searches_[b]->input().candidates});
    }
  }

  /// What stood for columns [rows, k] stands for tokens.
  void to_tokens(const at::Tensor& best, int64_t width) const {
    auto* const tokens = best.mutable_data_ptr<int64_t>();
    for (int64_t i = 0; i < best.numel(); ++i) {
      const Candidates& candidates = searches_[i / (width * best.size(1))]->input().candidates;
      tokens[i] = tokens[i] < candidates.size() ? candidates.token(tokens[i]) : kPad;
    }
  }

  /// What must not come next.
  RowTokens banned(int64_t width) const {
    if (options_.no_repeat_ngram == 0 && options_.min_length == 0) return {};
    return of_each(width, [&](const Search& search, size_t i) {
      return search.banned(i, model_.config().decoder_start);
    });
  }

  /// What has been read.
  Penalty penalty(int64_t width) const {
    if (options_.repetition_penalty == 1) return {};
    const auto read = [&](const Search& search, size_t i) {
      std::vector<int32_t> tokens = search.live()[i].tokens;
      tokens.push_back(model_.config().decoder_start);
      return tokens;
    };
    return {of_each(width, read), options_.repetition_penalty, kind_.greedy};
  }

  /// The columns of the tokens, each once, that `list` has for each hypothesis that goes on.
  RowTokens of_each(int64_t width,
                    const std::function<std::vector<int32_t>(const Search&, size_t)>& list) const {
    RowTokens pairs;
    for (size_t b = 0; b < searches_.size(); ++b) {
      for (size_t i = 0; i < searches_[b]->live().size(); ++i) {
        std::vector<int32_t> tokens = list(*searches_[b], i);
        std::ranges::sort(tokens);
        tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
        for (const int32_t token : tokens)
          if (const auto column = searches_[b]->input().candidates.column(token))
            pairs.tokens.push_back(*column);
        pairs.rows.resize(pairs.tokens.size(), static_cast<int64_t>(b) * width + static_cast<int64_t>(i));
      }
    }
    return pairs;
  }

  /// From which row and sentence of the last step each of the next one goes on.
  struct Next {
    std::vector<int64_t> rows, sentences;
  };
  [[nodiscard]] bool is_stopped(const Search& search) const {
    return options_.stopped && options_.stopped(search.number());
  }

  /// Lets sentences go that are finished or stopped; sets the tokens that come next and the width.
  Next next_rows(int64_t& width, std::vector<int64_t>& ids, const std::function<void(Search&)>& finish) {
    size_t next_width = 1;
    for (const auto& search : searches_) next_width = std::max(next_width, search->live().size());
    Next next;
    std::vector<std::unique_ptr<Search>> going;
    ids.clear();
    for (size_t b = 0; b < searches_.size(); ++b) {
      if (searches_[b]->done()) {
        finish(*searches_[b]);
        continue;
      }
      if (is_stopped(*searches_[b])) continue;
      const std::vector<Search::Live>& hypotheses = searches_[b]->live();
      for (size_t i = 0; i < next_width; ++i) {
        // A sentence that has fewer hypotheses than others fills its rows with copies that nobody reads.
        const Search::Live& live = hypotheses[i < hypotheses.size() ? i : 0];
        next.rows.push_back(static_cast<int64_t>(b) * width + static_cast<int64_t>(live.parent));
        ids.push_back(live.tokens.back());
      }
      next.sentences.push_back(static_cast<int64_t>(b));
      going.push_back(std::move(searches_[b]));
    }
    searches_ = std::move(going);
    width = static_cast<int64_t>(next_width);
    return next;
  }

  /// Whether `indices` are 0 .. count - 1.
  static bool is_all(const std::vector<int64_t>& indices, size_t count) {
    if (indices.size() != count) return false;
    for (size_t i = 0; i < count; ++i)
      if (std::cmp_not_equal(indices[i], i)) return false;
    return true;
  }

  const StepDecoder& model_;
  const DecodeOptions& options_;
  const SearchKind& kind_;
  std::vector<std::unique_ptr<Search>> searches_;
  size_t row_count_ = 0, sentence_count_ = 0;  // of the last step
};

void check(const StepDecoder& model, std::span<const DecodeInput> inputs, const DecodeOptions& o) {
  if (!std::isfinite(o.length_penalty)) throw UserError("the length penalty is not a number");
  if (!(o.max_length_factor >= 0 && o.max_length_factor <= 1e6))
    throw UserError("a longest translation of {} tokens per token of the source is outside 0 to a million",
                    o.max_length_factor);
  if (o.max_length_offset < 0 || o.max_length_offset > 1 << 20)
    throw UserError("a longest translation of {} more than that is outside 0 to {}",
                    counted(o.max_length_offset, "token"), 1 << 20);
  if (o.no_repeat_ngram < 0) throw UserError("no sequence has {} tokens", o.no_repeat_ngram);
  if (!(o.repetition_penalty > 0) || !std::isfinite(o.repetition_penalty))
    throw UserError("a repetition penalty of {}: it must be a number above 0 (1: none)",
                    o.repetition_penalty);
  const int64_t positions = model.max_positions();
  if (o.min_length < 0 || o.min_length > positions)
    throw UserError("a shortest translation of {} tokens is outside 0 to the model's {} positions",
                    o.min_length, positions);
  for (const DecodeInput& input : inputs) {
    if (std::cmp_greater(input.source.size(), positions))
      throw UserError("a source of {} tokens is longer than the {} the model has positions for",
                      input.source.size(), positions);
    if (!input.candidates.shared != !inputs.front().candidates.shared)
      throw Error("of the sentences of a search all have candidates, or none has");
    if (input.tagged && input.forced.empty())
      throw Error("a translation begins with the tag of its language");
    if (std::cmp_greater_equal(input.forced.size(), positions))
      throw UserError("a prefix of {} tokens leaves no room in the {} positions of the model",
                      input.forced.size(), positions);
  }
}

}  // namespace

std::vector<std::vector<Hypothesis>> search_all(const StepDecoder& model, std::span<const DecodeInput> inputs,
                                                const DecodeOptions& options, const SearchKind& kind,
                                                const std::function<void(int64_t done)>& progress) {
  check(model, inputs, options);
  const at::NoGradGuard plain;
  std::vector<size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return inputs[i].source.size(); });

  std::vector<std::vector<Hypothesis>> results(inputs.size());
  const auto finish = [&](Search& search) { results[search.number()] = search.take(); };
  size_t next = 0;
  while (next < order.size()) {
    std::vector<std::unique_ptr<Search>> batch;
    for (int64_t tokens = 0; next < order.size(); ++next) {
      if (options.stopped && options.stopped(order[next])) continue;
      const DecodeInput& input = inputs[order[next]];
      std::unique_ptr<Search> search = kind.make(order[next], input);
      tokens += kind.width * (static_cast<int64_t>(input.source.size()) + search->limit());
      if (!batch.empty() && tokens > options.batch_tokens) break;
      batch.push_back(std::move(search));
    }
    if (!batch.empty()) BatchDecoder(model, options, kind, std::move(batch)).run(finish);
    if (progress) progress(static_cast<int64_t>(next));
  }
  return results;
}

}  // namespace chorus::inline decode
