// What the data side hands to the model: micro-batches of token ids, and their order.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace chorus::inline data {

/// The reserved ids, as in fairseq, NLLB and M2M100. A vocabulary's piece with SentencePiece id i >= 3 has id
/// i + 1.
enum SpecialToken : int32_t { kBos = 0, kPad = 1, kEos = 2, kUnk = 3 };

/// In place of a tag's id, where sentences have none (T5).
inline constexpr int32_t kNoTag = -1;

/// What a side of a pair holds besides its pieces: the language's tag and </s>.
inline constexpr int64_t kTagAndEnd = 2;

/// Of a micro-batch.
struct BatchShape {
  int64_t rows = 0, source_length = 0, target_length = 0;
};

/// One micro-batch: sentence pairs padded to a rectangle. It is the routing group of the MoE layers:
/// capacity, drops and the balance loss are defined inside it, and the run file alone fixes how a global
/// batch is cut into micro-batches.
struct MicroBatch {
  int64_t rows = 0;
  int64_t source_length = 0;    // S
  int64_t target_length = 0;    // T
  std::vector<int32_t> source;  // [rows, S]  [source tag] pieces </s>, then kPad
  // [rows, T]  </s> [target tag] pieces, then kPad; models that start with another token have it in the place
  // of </s>
  std::vector<int32_t> target_input;
  std::vector<int32_t> target_labels;  // [rows, T]  [kPad] pieces </s>, then kPad: the tag is not predicted
  std::vector<int32_t> direction;      // [rows]     index into the data set's directions (for statistics)
  int64_t source_tokens = 0;           // not padding, in source
  int64_t target_tokens = 0;           // not padding, in target_labels: what the loss is normalised by
};

/// Where a stream of batches stands; the whole of its resume state. The order is a pure function of (seed,
/// epoch, position), and the phase.
struct DataPosition {
  int64_t epoch = 0;   // complete passes made
  int64_t pool = 0;    // the shuffled, length-sorted stretch of the epoch being served
  int64_t batch = 0;   // global batches already served of it
  int64_t update = 0;  // global batches served in all: which phase of a curriculum it is
  friend bool operator==(const DataPosition&, const DataPosition&) = default;
};

}  // namespace chorus::inline data
