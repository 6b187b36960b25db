// The sentence pairs of a run: sources, cut into parts (one source, one direction), read from token stores.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "data/config.h"
#include "data/piece_sampler.h"
#include "data/token_store.h"
#include "data/vocabulary.h"

namespace chorus::inline data {

struct Direction {
  int32_t source = 0, target = 0;  // indices into the vocabulary's languages; 0 where it has none
  std::string name;                // "en-de"; of a denoising task "denoise:en"
  size_t task = 0;                 // index into DataSet::tasks()
  PairTags tags;
};

/// One sentence pair as ids, ready for make_batch.
struct SentencePair {
  // Pieces, without tag and </s>. Of a denoising task the source is the task's tag and the target after
  // noise.
  std::vector<int32_t> source, target;
  int32_t source_tag = 0, target_tag = 0;  // or kNoTag
  int32_t before_source_tag = kNoTag;      // PairTags::before_source
  int32_t direction = 0;                   // index into DataSet::directions()
};

/// A growing set of row numbers with the i-th smallest found in O(log n): one bit per row, and one count
/// per 512 rows.
class RowSet {
 public:
  void append(bool member);  // whether the next row belongs
  [[nodiscard]] int64_t size() const { return size_; }
  [[nodiscard]] int64_t select(int64_t i) const;  // 0 <= i < size()

 private:
  int64_t rows_ = 0, size_ = 0;
  std::vector<uint64_t> words_;
  std::vector<int64_t> before_;  // members before each stretch of 512 rows
};

/// What one direction of one source gives, and what was left out and why.
struct PartReport {
  std::string source;        // label
  std::string direction;     // name
  int64_t rows = 0;          // the sum of the next five
  int64_t examples = 0;      // usable pairs
  int64_t invalid_utf8 = 0;  // a side is not UTF-8
  int64_t misshapen = 0;     // a TSV row with another number of columns
  int64_t too_long = 0;      // a side is longer than max_length tokens, or than a line may be
  int64_t empty = 0;         // a side is blank, and nothing of the above
  int64_t source_tokens = 0, target_tokens = 0;  // of the examples, with </s>, without tags
};
struct DataReport {
  std::vector<PartReport> parts;
  [[nodiscard]] std::vector<std::string> lines() const;  // for people: totals, then a line a part
  [[nodiscard]] std::string json() const;
};

class DataSet {
 public:
  struct Options {
    std::filesystem::path store;  // folder of the token stores
    int64_t max_length = 256;     // DataConfig::max_length
    std::string list = "train";   // names the sources in messages: data.train[0]
    std::vector<DenoiseConfig> denoise;
    // DataConfig's: with what alpha the pieces of a side are sampled each time it is read; 0: not.
    double source_sampling = 0, target_sampling = 0;
    StoreOptions build;
  };
  /// Opens (and builds) the stores. UserError naming the source: unknown language, no usable pair in a
  /// direction, no tag for a task, ...
  DataSet(std::span<const SourceConfig> sources, const Vocabulary& vocabulary, const Options& options);

  [[nodiscard]] const std::vector<std::string>& languages() const { return vocabulary_.languages(); }
  /// "translation", then the denoising tasks.
  [[nodiscard]] const std::vector<std::string>& tasks() const { return tasks_; }
  /// Each language pair once, in the order in which the sources name them; then each task's languages.
  [[nodiscard]] const std::vector<Direction>& directions() const { return directions_; }
  /// Source and target language of each direction.
  [[nodiscard]] std::vector<std::pair<int32_t, int32_t>> language_pairs() const;
  [[nodiscard]] int64_t examples(int32_t direction) const;
  [[nodiscard]] const DataReport& report() const { return report_; }
  /// Returns a hash of all ids and of what is drawn from them: equal hashes give the same stream of batches.
  [[nodiscard]] uint64_t hash() const;

  /// One source's share of a direction.
  struct Part {
    std::string name;  // curriculum_name() of the source, or the task's
    int32_t direction = 0;
    double weight = 1;  // the source's
    int64_t examples = 0;
    int64_t length_sum = 0;  // of max(S, T), with tag and </s>, over examples
    int64_t longest = 0;     // the largest max(S, T); where pieces are sampled, the largest it may be
  };
  [[nodiscard]] const std::vector<Part>& parts() const { return parts_; }
  struct Lengths {
    int64_t source = 0, target = 0;  // S and T of data/batch.h: pieces, tag and </s>
  };
  /// Whether pieces are sampled: lengths() and read() then take their time.
  [[nodiscard]] bool is_sampled() const { return sampler_.has_value(); }
  /// Returns the lengths of what read() gives for the same key. For a denoising task the source may also be shorter.
  [[nodiscard]] Lengths lengths(int64_t part, int64_t example, RandomKey key) const;
  /// Reads an example. `key` decides into which pieces it is cut, where they are sampled, and what the noise of a
  /// denoising task does. A side that would be longer than max_length that way stays as it is stored.
  [[nodiscard]] SentencePair read(int64_t part, int64_t example, RandomKey key) const;

 private:
  struct Columns {
    size_t store = 0, source = 0, target = 0;                         // column numbers
    size_t rows = 0;                                                  // index into rows_
    size_t task = 0;                                                  // index into tasks_
    [[nodiscard]] int64_t extra() const { return task > 0 ? 1 : 0; }  // tokens of the source: the task's tag
  };
  struct Denoising {
    Noise noise;
    int32_t tag = 0;  // of the task
  };
  void add_source(const SourceConfig& source, const std::string& label, const std::string& name,
                  const Options& options);
  void add_task(const DenoiseConfig& task, std::span<const SourceConfig> sources, const Options& options);
  void add_part(const Part& part, const Columns& columns, const PartReport& report);
  [[nodiscard]] std::vector<int32_t> pieces(const Columns& columns, int64_t row, bool of_source,
                                            RandomKey key) const;
  RowSet usable_rows(const Columns& columns, int64_t max_length, PartReport& report, Part& part) const;
  int32_t direction_index(const Direction& direction);
  [[nodiscard]] int32_t language(const std::string& name, const std::string& label) const;
  [[nodiscard]] PairTags tags(const std::string& from, const std::string& to, const std::string& label) const;

  Vocabulary vocabulary_;
  int64_t max_length_;
  double source_sampling_, target_sampling_;
  std::optional<PieceSampler> sampler_;
  std::vector<std::string> tasks_ = {std::string(kTranslation)};
  std::vector<Denoising> denoising_;  // of each task but the first
  std::vector<TokenStore> stores_;    // of the sources, then those of the tasks' own files
  std::vector<RowSet> rows_;
  std::vector<Direction> directions_;
  std::vector<Part> parts_;
  std::vector<Columns> columns_;  // of each part
  DataReport report_;
};

}  // namespace chorus::inline data
