#include "decode/alignment.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

#include "decode/internal/attention.h"

namespace chorus::inline decode {

namespace {

/// Returns the options with what -1 stands for: a layer, and a head or -1.
AlignmentOptions resolved(const ModelConfig& model, AlignmentOptions options) {
  check_alignment(model, options);
  if (options.layer == -1 && model.alignment_layer >= 0) {
    options.layer = model.alignment_layer;
    if (options.head == -1) options.head = model.alignment_head;
  } else if (options.layer == -1) {
    options.layer = std::max<int64_t>(0, model.decoder_layers - 2);
  }
  return options;
}

}  // namespace

std::vector<int64_t> words_of(const Vocabulary& vocabulary, std::span<const int32_t> pieces) {
  constexpr std::string_view kSpace = "\u2581";
  std::vector<int64_t> words;
  words.reserve(pieces.size());
  int64_t word = 0;
  for (const int32_t piece : pieces) {
    if (!words.empty() && vocabulary.name_of(piece).starts_with(kSpace)) ++word;
    words.push_back(word);
  }
  return words;
}

std::vector<WordLink> links_of(const at::Tensor& weights, std::span<const int64_t> source,
                               std::span<const int64_t> target) {
  std::vector<WordLink> links;
  if (source.empty()) return links;
  const at::Tensor rows = weights.contiguous();
  const auto* at = rows.const_data_ptr<float>();
  for (size_t t = 0; t < target.size();) {
    const int64_t word = target[t];
    std::vector<double> seen(source.back() + 1, 0);
    for (; t < target.size() && target[t] == word; ++t)
      for (const int64_t from : source) seen[from] += *at++;
    links.emplace_back(std::ranges::max_element(seen) - seen.begin(), word);
  }
  return links;
}

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
  const auto [layer, head] = resolved(model.config(), options);
  std::vector<std::vector<WordLink>> links(pairs.size());
  const size_t block = model.catalogue().decoder[layer].block;
  for_each_attention(model, pairs, {&block, 1}, batch_tokens,
                     [&, head = head](size_t pair, size_t /*block*/, const at::Tensor& heads) {
                       links[pair] = links_of(head >= 0 ? heads[head] : heads.mean(0),
                                              words_of(vocabulary, pairs[pair].source),
                                              words_of(vocabulary, pairs[pair].target));
                     });
  return links;
}

}  // namespace chorus::inline decode
