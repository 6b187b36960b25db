// Log-probabilities of given translations.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/group.h"
#include "data/dataset.h"
#include "data/line_reader.h"
#include "data/vocabulary.h"
#include "decode/findings.h"
#include "model/transformer.h"

namespace chorus::inline decode {

struct PairScore {
  double log_probability = 0;            // sum over the pieces and </s>, in nats: the target's tag is given
  int64_t tokens = 0;                    // tag (if any), pieces and </s>, as beam search counts them
  std::vector<float> log_probabilities;  // of each piece, and of </s>
};

/// One score per pair, in order. `batch_tokens` bounds rows x longest side of a batch; a pair is never cut,
/// and what else is in a batch changes its score by rounding alone. UserError on a side longer than the model
/// has positions.
std::vector<PairScore> score_pairs(Transformer& model, std::span<const SentencePair> pairs,
                                   int64_t batch_tokens);

struct ScoreOptions {
  std::string from, to;  // languages; both empty for a vocabulary without tags
  // What is written is log p / tokens^length_penalty; with beam search's penalty that is its score.
  double length_penalty = 0;
  // Write one object per pair, with the log-probability of each token: see docs/decoding.md.
  bool json = false;
  int64_t batch_tokens = 8192;
  int64_t window = 4096;                        // pairs held at a time, for each rank
  std::function<void(std::string_view)> write;  // one line per pair, in order
  std::function<void(int64_t pairs)> progress;  // pairs done, after each window; may be empty
  // The ranks that share the pairs, each with the whole model; null: this process alone.
  Group* group = nullptr;
};

/// Scores line i of `target` as a translation of line i of `source`. UserError on an unknown language, and,
/// after the pairs before are written, naming file and line: not UTF-8, too long, or files of different
/// length. Rank 0 alone reads, writes and is told of progress: others have no readers. Returns the places of
/// lines with nothing to translate (LineTranslator::translate), whose scores say nothing.
Findings score_stream(Transformer& model, const Vocabulary& vocabulary, LineReader* source,
                      LineReader* target, const ScoreOptions& options);

}  // namespace chorus::inline decode
