// Sums of gradients over the ranks that share weights, on their way to where they are kept; and their norm.
#pragma once

#include "state/internal/shards.h"

namespace chorus::inline state {

class GradientReducer {
 public:
  explicit GradientReducer(Shards& shards) : shards_(shards) {}

  /// Begins to add up the gradients that the ranks have in the bucket. `last`: they are those of the whole update.
  void reduce(Shard& shard, bool last);
  /// Sums the gradients of all shards, those that took no part included, and waits until that is done.
  void finish_all();
  /// The sum of squares of this rank's own parts, frozen parameters left out.
  double sum_of_squares();

 private:
  void add_squares(SumOfSquares& sum, const Chunk& chunk);
  void add_squares(SumOfSquares& sum, const Shard& shard, int64_t begin, int64_t end,
                   const at::Tensor& gradient);

  Shards& shards_;
};

}  // namespace chorus::inline state
