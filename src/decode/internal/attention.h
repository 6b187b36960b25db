// How the pieces of given pairs look at each other, and the links between words that this makes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "data/batches.h"
#include "data/vocabulary.h"
#include "decode/alignment.h"
#include "model/transformer.h"

#include "decode/internal/pairs.h"

namespace chorus::inline decode {

/// The word of each piece, from 0, as white space cuts them.
std::vector<int64_t> words_of(const Vocabulary& vocabulary, std::span<const int32_t> pieces);

/// weights: fp32 [T, S] of the pieces of words `target` and `source` (words_of()). As align_pairs() has it.
std::vector<WordLink> links_of(const at::Tensor& weights, std::span<const int64_t> source,
                               std::span<const int64_t> target);

/// Calls visit(pair, i, heads) for each pair and each of these blocks of the decoder (LayerIndex::block), with the
/// weights of blocks[i] when the pieces of the target are predicted: heads, fp32 [heads, T, S] on the CPU, of pieces
/// alone.
template <class Visit>
void for_each_attention(Transformer& model, std::span<const SentencePair> pairs,
                        std::span<const size_t> blocks, int64_t batch_tokens, const Visit& visit) {
  for_each_batch(
      pairs, batch_tokens, [&](std::span<const size_t> which, std::span<const SentencePair> batch) {
        std::vector<CrossAttention> kept;
        for (const size_t block : blocks) kept.push_back({.block = block});
        model.evaluate(model.to_batch(make_batch(batch)), {.dropless = true, .cross_attention = kept});
        for (size_t i = 0; i < kept.size(); ++i) {
          const at::Tensor weights = kept[i].weights.cpu();
          for (size_t row = 0; row < batch.size(); ++row) {
            const SentencePair& pair = batch[row];
            // The tag of the target is what the first position would predict.
            const int64_t first = pair.target_tag == kNoTag ? 0 : 1;
            const int64_t from =
                (pair.before_source_tag == kNoTag ? 0 : 1) + (pair.source_tag == kNoTag ? 0 : 1);
            visit(which[row], i,
                  weights[static_cast<int64_t>(row)]
                      .narrow(1, first, std::ssize(pair.target))
                      .narrow(2, from, std::ssize(pair.source)));
          }
        }
      });
}

}  // namespace chorus::inline decode
