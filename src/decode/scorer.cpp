#include "decode/scorer.h"

#include <array>
#include <cmath>
#include <cstring>
#include <exception>

#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "comm/ranks.h"
#include "data/batch.h"
#include "data/batches.h"

#include "decode/internal/json.h"
#include "decode/internal/lines.h"
#include "decode/internal/pairs.h"
#include "decode/internal/prepare.h"
#include "decode/internal/search.h"

namespace chorus::inline decode {

namespace {

std::string as_text(std::span<const int32_t> ids) {
  return {reinterpret_cast<const char*>(ids.data()), ids.size_bytes()};
}

std::vector<int32_t> as_ids(std::string_view text) {
  std::vector<int32_t> ids(text.size() / sizeof(int32_t));
  if (!text.empty()) std::memcpy(ids.data(), text.data(), text.size());
  return ids;
}

}  // namespace

std::vector<PairScore> score_pairs(Transformer& model, std::span<const SentencePair> pairs,
                                   int64_t batch_tokens) {
  std::vector<PairScore> scores(pairs.size());
  for_each_batch(
      pairs, batch_tokens, [&](std::span<const size_t> which, std::span<const SentencePair> batch) {
        const at::Tensor nll =
            model.evaluate(model.to_batch(make_batch(batch)), {.per_token = true, .dropless = true})
                .token_nll.to(at::kCPU, at::kFloat)
                .contiguous();
        for (size_t row = 0; row < batch.size(); ++row) {
          const bool tagged = batch[row].target_tag != kNoTag;
          const auto* const of_row = nll.const_data_ptr<float>() + static_cast<int64_t>(row) * nll.size(1);
          PairScore& score = scores[which[row]];
          score.tokens = static_cast<int64_t>(batch[row].target.size()) + (tagged ? kTagAndEnd : 1);
          for (int64_t i = tagged ? 1 : 0; i < score.tokens; ++i) {
            if (std::isnan(of_row[i])) fail_not_a_number();
            score.log_probabilities.push_back(-of_row[i]);
            score.log_probability -= of_row[i];
          }
        }
      });
  return scores;
}

Findings score_stream(Transformer& model, const Vocabulary& vocabulary, LineReader* source,
                      LineReader* target, const ScoreOptions& options) {
  Group alone;
  Group& group = options.group ? *options.group : alone;
  const int64_t longest = options.window * group.size();
  const PairTags tags = vocabulary.pair_tags(options.from, options.to);
  Findings empty;
  const auto encode = [&](const LineReader& reader, const Vocabulary& of_side) {
    std::string fault = fault_of(reader);
    if (fault.empty()) fault = utf8_fault(reader.text(), place(reader));
    if (!fault.empty()) throw UserError("{}", fault);
    std::vector<int32_t> ids = of_side.encode(reader.text());
    const int64_t tokens = std::ssize(ids) + vocabulary.tags_and_end(), most = model.config().max_positions;
    if (tokens > most)
      throw UserError("{}: {} tokens with tag and </s>, more than the model's {} positions", place(reader),
                      tokens, most);
    if (is_blank(reader.text()) || says_nothing(vocabulary, ids)) empty.add(place(reader));
    return as_text(ids);
  };
  // A pair goes to the rank that scores it as its ids, and comes back as what is written. What ends the input
  // before its time is thrown once the pairs before it are written.
  std::exception_ptr broken;
  const auto read_pair = [&](std::vector<std::string>& window) {
    const bool more = source->next();
    if (more != target->next()) {
      const LineReader& longer = more ? *source : *target;
      const LineReader& shorter = more ? *target : *source;
      throw UserError("{} has {}, fewer than {}: line i of one is the translation of line i of the other",
                      shorter.path().string(), counted(shorter.number(), "line"), longer.path().string());
    }
    if (more) {
      const auto text = [&](const LineReader& reader) {
        return std::string(options.json ? reader.text() : "");
      };
      window.push_back(pack(std::array{encode(*source, vocabulary), encode(*target, vocabulary.target()),
                                       text(*source), text(*target)}));
    }
    return more;
  };
  const auto read_window = [&] {
    std::vector<std::string> window;
    try {
      while (source && std::cmp_less(window.size(), longest) &&
             (window.empty() || (source->ready() && target->ready())) && read_pair(window))
        continue;
    } catch (const UserError&) {
      broken = std::current_exception();
    }
    if (broken && window.empty()) std::rethrow_exception(broken);
    return window;
  };
  const auto score = [&](std::span<const std::string> packed) {
    std::vector<std::vector<std::string>> sides;
    std::vector<SentencePair> pairs;
    for (const std::string& pair : packed) {
      sides.push_back(unpack(pair));
      pairs.push_back({.source = as_ids(sides.back()[0]),
                       .target = as_ids(sides.back()[1]),
                       .source_tag = tags.source,
                       .target_tag = tags.target,
                       .before_source_tag = tags.before_source});
    }
    const std::vector<PairScore> scores = score_pairs(model, pairs, options.batch_tokens);
    std::vector<std::string> texts;
    for (size_t i = 0; i < scores.size(); ++i) {
      const PairScore& s = scores[i];
      if (options.json) {
        std::vector<std::string> pieces;
        for (const int32_t token : pairs[i].target) pieces.push_back(vocabulary.name_of(token));
        pieces.push_back(vocabulary.name_of(kEos));
        texts.push_back(json_line(sides[i][2], sides[i][3], s, options.length_penalty, pieces));
      } else {
        texts.push_back(
            fmt::format("{:.6f}\n", s.log_probability / std::pow(s.tokens, options.length_penalty)));
      }
    }
    return texts;
  };
  int64_t done = 0;
  while (true) {
    const std::vector<std::string> texts = deal_to_ranks(group, read_window(), score);
    if (texts.empty()) break;
    done += static_cast<int64_t>(texts.size());
    if (group.rank() > 0) continue;
    options.write(fmt::format("{}", fmt::join(texts, "")));
    if (options.progress) options.progress(done);
    if (broken) std::rethrow_exception(broken);
  }
  return empty;
}

}  // namespace chorus::inline decode
