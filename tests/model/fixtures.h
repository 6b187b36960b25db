// A tiny model and micro-batches for tests.
#pragma once

#include "base/error.h"
#include "model/transformer.h"

namespace chorus {

inline ModelConfig tiny_config() {
  return {.vocabulary = 23,
          .d_model = 12,
          .encoder_layers = 2,
          .decoder_layers = 2,
          .attention_heads = 3,
          .ffn_dim = 10,
          .dropout = 0.1,
          .attention_dropout = 0.1,
          .activation_dropout = 0.1,
          .max_positions = 32,
          .moe = {.experts = 4, .top_k = 2}};
}

/// With a head width of its own, an untied output and, in the encoder, blocks of which not every one is
/// sparse.
inline ModelConfig switch_config() {
  return {.vocabulary = 23,
          .d_model = 12,
          .encoder_layers = 3,
          .decoder_layers = 2,
          .attention_heads = 2,
          .ffn_dim = 10,
          .dropout = 0.1,
          .attention_dropout = 0.1,
          .activation_dropout = 0.1,
          .max_positions = 32,
          .norm = Norm::rms,
          .norm_epsilon = 1e-6,
          .biases = false,
          .positions = Positions::relative,
          .relative_buckets = 8,
          .relative_max_distance = 6,
          .head_dim = 5,
          .scale_attention = false,
          .scale_embedding = false,
          .tied_output = false,
          .decoder_start = kPad,
          .moe = {.experts = 4,
                  .encoder_every = 3,
                  .decoder_every = 1,
                  .sparse_block = SparseBlock::second,
                  .top_k = 1,
                  .sentence_capacity = 2}};
}

/// As OPUS-MT's models are.
inline ModelConfig marian_config() {
  return {.vocabulary = 23,
          .d_model = 12,
          .encoder_layers = 2,
          .decoder_layers = 3,
          .attention_heads = 3,
          .ffn_dim = 10,
          .activation = Activation::silu,
          .dropout = 0.1,
          .attention_dropout = 0.1,
          .activation_dropout = 0.1,
          .max_positions = 32,
          .post_norm = true,
          .positions = Positions::marian,
          .output_bias = true,
          .decoder_start = kPad};
}

inline void initialise(Transformer& model, uint64_t seed) {
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    model.set(i, initial_value(model.catalogue().parameters[i], RandomKey(seed)));
  }
}

/// Random sentence pairs; row 0 has the full lengths, the others are shorter by up to three tokens.
inline MicroBatch tiny_batch(int64_t rows, int64_t source_length, int64_t target_length, int64_t vocabulary) {
  MicroBatch m = {.rows = rows, .source_length = source_length, .target_length = target_length};
  const RandomKey key(17);
  uint64_t draw = 0;
  const auto token = [&] {
    return static_cast<int32_t>(4 + key.below(draw++, static_cast<uint64_t>(vocabulary - 4)));
  };
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t s = std::max<int64_t>(2, source_length - row % 4),
                  t = std::max<int64_t>(2, target_length - row % 3);
    for (int64_t i = 0; i < source_length; ++i) {
      m.source.push_back(i < s - 1 ? token() : i == s - 1 ? kEos : kPad);
    }
    std::vector<int32_t> target;
    for (int64_t i = 0; i < t - 1; ++i) target.push_back(token());
    for (int64_t i = 0; i < target_length; ++i) {
      m.target_input.push_back(i == 0 ? kEos : i < t ? target[i - 1] : kPad);
      m.target_labels.push_back(i == 0 || i >= t ? kPad : i == t - 1 ? kEos : target[i]);
    }
    m.direction.push_back(static_cast<int32_t>(row % 2));
    m.source_tokens += s;
    m.target_tokens += t - 1;
  }
  return m;
}

/// One row without its padding.
inline MicroBatch single_row(const MicroBatch& m, int64_t row) {
  const auto cut = [&](const std::vector<int32_t>& ids, int64_t length, int64_t kept) {
    return std::vector<int32_t>(ids.begin() + row * length, ids.begin() + row * length + kept);
  };
  int64_t s = m.source_length, t = m.target_length;
  while (m.source[row * m.source_length + s - 1] == kPad) --s;
  while (m.target_input[row * m.target_length + t - 1] == kPad) --t;
  return {.rows = 1,
          .source_length = s,
          .target_length = t,
          .source = cut(m.source, m.source_length, s),
          .target_input = cut(m.target_input, m.target_length, t),
          .target_labels = cut(m.target_labels, m.target_length, t),
          .direction = {m.direction[row]},
          .source_tokens = s,
          .target_tokens = t - 1};
}

}  // namespace chorus
