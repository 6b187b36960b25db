// What a model's encoder makes of text: for looking at it, and for what is built on it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chorus/model.h"

namespace chorus::inline face {

/// Of one MoE layer, for one text.
struct RouterProbabilities {
  std::string layer;  // "encoder.layers.1"
  int64_t experts = 0;
  std::vector<float> probabilities;  // [tokens, experts]: each token's sum to 1
};

struct EncodedText {
  std::vector<std::string> tokens;           // tag, pieces, </s>, as ModelVocabulary::piece() writes them
  std::vector<float> states;                 // [tokens, Encoder::width()]: the output of the encoder
  std::vector<RouterProbabilities> routers;  // of the encoder's MoE layers, in order
};

/// Threads may share one.
class Encoder {
 public:
  /// As Translator's.
  Encoder(const Model& model, const std::string& from, const std::string& to);

  /// texts[i] gives element i. UserError where a text is not UTF-8, or longer than the model has positions for.
  [[nodiscard]] std::vector<EncodedText> encode(const std::vector<std::string>& texts) const;
  /// Numbers that stand for a token (d_model).
  [[nodiscard]] int64_t width() const;

 private:
  Model model_;
  std::string from_, to_;
};

}  // namespace chorus::inline face
