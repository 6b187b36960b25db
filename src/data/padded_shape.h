// A micro-batch as far as its memory is concerned.
#pragma once

#include "data/batch.h"

namespace chorus::inline data {

struct PaddedShape : BatchShape {
  int64_t source_padding = 0, target_padding = 0;  // of a side's rows x length tokens

  /// Return the tokens that are no padding.
  [[nodiscard]] int64_t source_tokens() const { return rows * source_length - source_padding; }
  [[nodiscard]] int64_t target_tokens() const { return rows * target_length - target_padding; }
};

}  // namespace chorus::inline data
