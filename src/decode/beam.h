// Beam search: from source ids to the best target ids.
//
// The rules are those of transformers' generate() with early_stopping = false. The decoder reads its
// start token; the tag of the target language, if it has one, and any prefix are then forced. Each step keeps
// the 2 beam best continuations of a sentence: those among the first `beam` that end in </s> (or are as long
// as allowed) go to its pool of finished hypotheses, the best `beam` others go on. A sentence is done when
// its pool has `beam` hypotheses and the best one that goes on, were it to end here, would not enter it.
// Finished sentences leave the batch.
//
//   score = sum of log p / n^length_penalty
//
// where n counts the tag, the prefix, the pieces and </s>, and what is forced adds nothing to the sum.
//
// A diverse beam is cut into groups. Each is a beam of its own with a pool of its own; at each step one group
// after the other chooses, and to a later one a continuation is worth `diversity` less for each hypothesis of
// the groups before that has gone on with the same token at this step. What all have found is then ranked by
// the scores above, without these penalties; what several have found is there once.
//
// A sentence with phrases that its translation must contain is searched with dynamic beam allocation
// (1804.06609; internal/constrained.h); it is done when its pool has `beam` hypotheses, which contain them,
// and no other such one would enter it.
//
// A repetition penalty p is transformers' too: for every token that the decoder has read (its start, tag and
// prefix included) log p is multiplied by p before the choice, and in the score. With a beam of 1 that is
// done to the logits instead, where negative; others are divided by p.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/random.h"
#include "data/vocabulary.h"
#include "model/step_decoder.h"

namespace chorus::inline decode {

struct DecodeOptions {
  int64_t beam = 5;           // 1: greedy
  int64_t nbest = 1;          // hypotheses returned per sentence, at most `beam`
  double length_penalty = 1;  // above 0 prefers long translations
  // A translation has at most max_length_factor S + max_length_offset tokens (n above) for a source of S
  // tokens (tag and </s> included), and never more than the model has positions.
  double max_length_factor = 2;
  int64_t max_length_offset = 30;
  // Above 0: no </s> before a translation has this many tokens (n above, so with </s>), unless that is more
  // than the longest it may have; as transformers' min_length.
  int64_t min_length = 0;
  // Above 0: diverse beam search (1610.02424; transformers' diversity_penalty and num_beam_groups), see above.
  double diversity = 0;
  int64_t groups = 0;  // that a diverse beam is cut into, all as wide; 0: one for each hypothesis
  // Above 0: no n tokens in a row occur twice in a hypothesis, what the decoder starts with, tag and prefix
  // included; as transformers' no_repeat_ngram_size. (So 1 also forbids the </s> that the decoder starts
  // with.)
  int64_t no_repeat_ngram = 0;
  double repetition_penalty = 1;  // above 1: tokens that are there already are less likely; see above
  // Of a batch: beam (or samples) x (source + longest translation), over its sentences.
  int64_t batch_tokens = 16384;
  std::vector<int32_t> never = {};  // tokens that are not chosen, as never_chosen() lists them
  // Called before each step, where it is not empty, by the thread that decodes: what it throws ends the search.
  std::function<void()> before_step = {};
  // Asked between steps of each input that is not done: true ends its search, and it has no hypotheses. May be empty.
  std::function<bool(size_t input)> stopped = {};
};

struct DecodeInput {
  std::vector<int32_t> source;  // tag, pieces, </s>
  std::vector<int32_t> forced;  // the target's tag, and what the translation must begin with
  // What the translation must contain, in any order and apart from each other; none empty.
  std::vector<std::vector<int32_t>> phrases = {};
  bool tagged = true;              // false: `forced` begins with no tag
  RandomKey random = RandomKey();  // what samples (decode/sampling.h) are drawn by
  // The tokens that may be chosen, and over which probabilities sum to 1: as StepDecoder::start() takes them, and none
  // of DecodeOptions::never, which is not looked at then. Either all inputs of a call have some, or none has.
  Candidates candidates = {};
};

struct Hypothesis {
  std::vector<int32_t> tokens;           // what follows the tag: prefix and pieces, without </s>
  std::vector<float> log_probabilities;  // of each token (NaN: it was forced), and, where it ended, of </s>
  double score = 0;                      // see above
  double log_probability = 0;            // the sum
  bool ended = false;  // by </s>; false: cut at the longest length, or nothing was left to choose
};

/// All of the embedding's `rows` that stand for no text (Vocabulary::is_text), except </s>: special tokens,
/// unk included, tags of languages and tasks, <mask>, and rows that the vocabulary does not use. transformers
/// masks nothing: leave `never` empty for its results.
std::vector<int32_t> never_chosen(const Vocabulary& vocabulary, int64_t rows);

/// The best translations of each input, best first: 1 to nbest each. Batches are made of inputs of like
/// length, and what else is in a batch changes scores by rounding alone, or not at all
/// (StepDecoder::independent()). `progress` is told how many inputs
/// are done after each batch. UserError on options out of range or a source longer than the model has
/// positions; Error when the model's output is not a number.
std::vector<std::vector<Hypothesis>> beam_search(const StepDecoder& model,
                                                 std::span<const DecodeInput> inputs,
                                                 const DecodeOptions& options,
                                                 const std::function<void(int64_t done)>& progress = {});

}  // namespace chorus::inline decode
