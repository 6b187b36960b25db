#include "decode/alignment.h"

#include <algorithm>
#include <numeric>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "data/batches.h"

#include "decode/internal/pairs.h"

namespace chorus::inline decode {

namespace {

/// The word of each piece.
std::vector<int64_t> words_of(const Vocabulary& vocabulary, std::span<const int32_t> pieces) {
  constexpr std::string_view kSpace = "\u2581";
  std::vector<int64_t> words;
  int64_t word = 0;
  for (const int32_t piece : pieces) {
    if (!words.empty() && vocabulary.name_of(piece).starts_with(kSpace)) ++word;
    words.push_back(word);
  }
  return words;
}

/// weights: fp32 [T, S], those of the pieces alone, `stride` apart.
std::vector<WordLink> links_of(const float* weights, int64_t stride, std::span<const int64_t> source,
                               std::span<const int64_t> target) {
  std::vector<WordLink> links;
  if (source.empty()) return links;
  for (size_t begin = 0, end = 0; begin < target.size(); begin = end) {
    std::vector<double> seen(source.back() + 1, 0);
    for (; end < target.size() && target[end] == target[begin]; ++end)
      for (size_t s = 0; s < source.size(); ++s)
        seen[source[s]] += weights[static_cast<int64_t>(end) * stride + static_cast<int64_t>(s)];
    links.emplace_back(std::ranges::max_element(seen) - seen.begin(), target[begin]);
  }
  return links;
}

}  // namespace

void check_alignment(const ModelConfig& model, const AlignmentOptions& options) {
  if (options.layer < -1 || options.layer >= model.decoder_layers)
    throw UserError("alignments by decoder layer {}: the model has {}, from 0", options.layer,
                    counted(model.decoder_layers, "layer"));
  if (options.head < -1 || options.head >= model.attention_heads)
    throw UserError("alignments by head {}: the model has {}, from 0", options.head,
                    counted(model.attention_heads, "head"));
}

std::vector<std::vector<WordLink>> align_pairs(Transformer& model, const Vocabulary& vocabulary,
                                               std::span<const SentencePair> pairs,
                                               const AlignmentOptions& options, int64_t batch_tokens) {
  check_alignment(model.config(), options);
  const std::vector<LayerIndex>& layers = model.catalogue().decoder;
  const size_t layer = options.layer >= 0 ? static_cast<size_t>(options.layer)
                                          : layers.size() - std::min<size_t>(2, layers.size());
  std::vector<std::vector<WordLink>> links(pairs.size());
  for_each_batch(
      pairs, batch_tokens, [&](std::span<const size_t> which, std::span<const SentencePair> batch) {
        CrossAttention attention = {.block = layers[layer].block};
        model.evaluate(model.to_batch(make_batch(batch)), {.dropless = true, .cross_attention = &attention});
        const at::Tensor weights =
            (options.head >= 0 ? attention.weights.select(1, options.head) : attention.weights.mean(1))
                .cpu()
                .contiguous();
        for (size_t row = 0; row < batch.size(); ++row) {
          const SentencePair& pair = batch[row];
          // The tag of the target is what the first position would predict.
          const int64_t first = pair.target_tag == kNoTag ? 0 : 1;
          const int64_t from =
              (pair.before_source_tag == kNoTag ? 0 : 1) + (pair.source_tag == kNoTag ? 0 : 1);
          const auto* const of_row = weights.const_data_ptr<float>() +
                                     (static_cast<int64_t>(row) * weights.size(1) + first) * weights.size(2) +
                                     from;
          links[which[row]] = links_of(of_row, weights.size(2), words_of(vocabulary, pair.source),
                                       words_of(vocabulary, pair.target));
        }
      });
  return links;
}

}  // namespace chorus::inline decode
