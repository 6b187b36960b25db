// A source's text as token ids, written once and mapped from then on.
//
// One store holds the aligned languages of one source, so that a row cannot be torn. The file, little-endian:
//   header   64 bytes: magic, version, bytes per id (2 or 4), columns, rows per block, rows, where the tail
//            lies, hashes
//   blocks   1024 rows each (the last fewer): offsets u32 [rows x columns + 1], counted in ids from the
//            block's first; status u8 [rows x columns]; padding to 8; the ids; padding to 8
//   tail     of each block its place u64 in the file and its XXH3 u64; then JSON: languages, vocabulary,
//            input files
// A block is a pure function of its rows and the vocabulary, so any number of threads makes the same bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "data/config.h"
#include "data/parallel_text.h"
#include "data/vocabulary.h"
#include "io/files.h"

namespace chorus::inline data {

class StoreStamp;  // what a store is made from

/// A sentence of more pieces is stored as over_long, without its pieces.
inline constexpr int64_t kMaxPieces = 1 << 14;

struct StoreProgress {
  std::string source;  // its label
  int64_t rows = 0;    // tokenised so far
  bool finished = false;
};

struct StoreOptions {
  int threads = 0;                                     // 0: one per core
  std::function<void(const StoreProgress&)> progress;  // now and then while building, on the calling thread
  std::function<void(const std::string& line)> log;    // why a store is built anew; lines that were unusable
};

class TokenStore {
 public:
  /// Maps the store of `source` in `folder`, after building it when there is none, when it is damaged, or
  /// when the corpus (size and time of its files, then their content), the languages or the vocabulary are
  /// not those it was made from. Builds under the folder's lock, atomically, in bounded memory. UserError
  /// beginning with `label` on unreadable or unaligned files; Error on a full disk.
  static TokenStore open(const SourceConfig& source, std::string_view label, const Vocabulary& vocabulary,
                         const std::filesystem::path& folder, const StoreOptions& options = {});

  [[nodiscard]] int64_t rows() const { return rows_; }
  [[nodiscard]] int64_t columns() const { return columns_; }  // the source's languages
  /// Pieces of a cell, without tag and </s>: 0 unless its status is ok, and then at least 1.
  [[nodiscard]] int64_t length(int64_t row, int64_t column) const;
  [[nodiscard]] CellStatus status(int64_t row, int64_t column) const;
  [[nodiscard]] std::vector<int32_t> read(int64_t row, int64_t column) const;
  /// Identifies the rows and their ids, not the files they came from.
  [[nodiscard]] uint64_t hash() const { return hash_; }

 private:
  struct Block;
  struct Builder {
    std::string label;
    StoreOptions options;
  };
  TokenStore() = default;
  static void build(const TextSource& source, const std::filesystem::path& path, const StoreStamp& stamp,
                    const Vocabulary& vocabulary, const Builder& builder);
  [[nodiscard]] Block block(int64_t number) const;
  [[nodiscard]] size_t cell(int64_t row, int64_t column) const;
  std::string map(const std::filesystem::path& path, const StoreStamp& stamp, int threads);

  MappedFile file_;
  int64_t rows_ = 0, columns_ = 0, id_bytes_ = 0, vocabulary_size_ = 0;
  size_t tail_ = 0;  // where it lies
  uint64_t hash_ = 0;
};

}  // namespace chorus::inline data
