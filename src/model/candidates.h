// Which tokens may come next: of a sentence with a shortlist, logits are computed for these alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/quantized.h"

namespace chorus::inline model {

/// Tokens that many sentences share, and the rows of a decoder's output matrix for them, taken once
/// (StepDecoder::take_tokens()).
struct SharedTokens {
  std::vector<int32_t> tokens;                               // in ascending order, each once
  std::optional<Matrix> rows;                                // [tokens, d]; of an ensemble none
  std::vector<std::shared_ptr<const SharedTokens>> members;  // of an ensemble: with the rows of each model
};

/// The tokens of one sentence, in the order of the columns of its logits.
struct Candidates {
  std::shared_ptr<const SharedTokens> shared;  // null: all tokens of the vocabulary
  std::vector<int32_t> own;  // further ones, in ascending order, each once; none without `shared`

  /// Columns, where there are not all.
  [[nodiscard]] int64_t size() const { return std::ssize(shared->tokens) + std::ssize(own); }
  /// The token of a column below size().
  [[nodiscard]] int32_t token(int64_t column) const {
    if (!shared) return static_cast<int32_t>(column);
    const int64_t common = std::ssize(shared->tokens);
    return column < common ? shared->tokens[column] : own[column - common];
  }
  /// The column of a token; none: it is no candidate.
  [[nodiscard]] std::optional<int64_t> column(int32_t token) const {
    if (!shared) return token;
    const auto found = [&](const std::vector<int32_t>& tokens) -> std::optional<int64_t> {
      const auto place = std::ranges::lower_bound(tokens, token);
      if (place == tokens.end() || *place != token) return {};
      return place - tokens.begin();
    };
    if (const auto common = found(shared->tokens)) return common;
    const auto further = found(own);
    return further ? std::optional(std::ssize(shared->tokens) + *further) : std::nullopt;
  }
};

}  // namespace chorus::inline model
