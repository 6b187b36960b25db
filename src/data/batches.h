// From drawn examples to global batches of micro-batches.
//
// An epoch's draws (data/mixing.h) are cut into pools of about pool_batches global batches. A pool is sorted
// by length and cut into micro-batches within the token budget; if their number is no multiple of
// micro_batches, the ones with most rows are halved until it is. The micro-batches are shuffled by key and
// served micro_batches at a time. So every global batch has exactly micro_batches micro-batches, unless its
// pool (a whole tiny epoch) has fewer sentences than that.
//
// A curriculum cuts the run into phases. At the update where one begins the epoch ends, however much of it is
// left, and the next one is drawn by the new weights. Noise of denoising tasks and sampled pieces are drawn anew for
// every draw. Sampled lengths are known before a pool is sorted and cut, so no budget is exceeded.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <span>
#include <vector>

#include "data/batch.h"
#include "data/dataset.h"
#include "data/mixing.h"
#include "data/padded_shape.h"

namespace chorus::inline data {

/// Pads sentence pairs to one micro-batch, laid out as data/batch.h says.
MicroBatch make_batch(std::span<const SentencePair> pairs);
PaddedShape shape_of(const MicroBatch& batch);

struct BatchOptions {
  uint64_t seed = 1;
  double temperature = 5;
  int64_t batch_tokens = 4096;  // rows x max(S, T) of a micro-batch
  int64_t micro_batches = 1;
  int64_t pool_batches = 64;
  std::vector<CurriculumConfig> curriculum;
  int threads = 1;  // that sample the pieces of a pool
};

/// Equal for options with which positions mean the same.
uint64_t hash(const BatchOptions& options);

/// The endless stream of global batches. The next one is prepared in the background.
class BatchStream {
 public:
  /// `data` must outlive the stream. UserError if a sentence does not fit into batch_tokens.
  BatchStream(const DataSet& data, const BatchOptions& options);
  ~BatchStream();
  BatchStream(BatchStream&&) noexcept;

  /// Returns the next global batch: 1 to micro_batches micro-batches, none empty.
  std::vector<MicroBatch> next();

  /// Returns where the next batch lies. seek() to it, in any process with the same data and options, gives the same
  /// batches.
  [[nodiscard]] DataPosition position() const;
  /// Goes to a position. Error if there is no such position.
  void seek(const DataPosition& position);

  [[nodiscard]] int64_t examples_per_epoch() const;
  /// Returns, of the micro-batches of each phase's first epoch (or of a million examples of it), those that may take
  /// most memory: no other is at least as large in rows x S, rows x T and their products with S and T. To be called
  /// only before the first next() after seek().
  [[nodiscard]] std::vector<PaddedShape> largest();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// UserError where a batch of so many tokens has no room for the longest row of the text.
void check_room(const DataSet& data, int64_t batch_tokens);

struct SequentialOptions {
  int64_t batch_tokens = 4096;  // as BatchOptions; may be exceeded only by a batch of one row
  int64_t sentences = 0;        // as many of the direction, always the same; 0: all
};

/// The examples of a direction once, in an order of its own (by length), always with the same noise: for
/// validation. Any row of a batch stands alone.
std::vector<MicroBatch> sequential_batches(const DataSet& data, int32_t direction,
                                           const SequentialOptions& options);

}  // namespace chorus::inline data
