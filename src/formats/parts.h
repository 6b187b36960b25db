// The tensors of a catalogue in files that many ranks write and read together, each rank the parts that it
// holds. The file is the one that save_tensors() writes, byte for byte, however the parts were spread.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "comm/group.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "layout/buckets.h"
#include "layout/catalogue.h"

namespace chorus::inline formats {

/// Consecutive elements of what a rank holds of one parameter.
struct TensorPart {
  size_t parameter = 0;
  LocalPart local;
  int64_t first = 0;  // in what is held
  at::Tensor data;    // flat, of a floating type
};

/// A file of one or more values for each parameter: its weights, moments. The stored tensors of each carry a
/// prefix before their names. Every rank writes fp32 parts, which must make up every value of every parameter
/// once. The file is not renamed into place: write it into a folder that is still unknown. Errors as
/// SharedFile.
class PartWriter {
 public:
  /// Called by all ranks of the group. `catalogue` must outlive it.
  PartWriter(Group& group, const std::filesystem::path& path, const Catalogue& catalogue,
             std::vector<std::string> prefixes);
  /// Writes parts of the value with prefix number `set`.
  void write(size_t set, const TensorPart& part);
  /// Called by all ranks.
  void finish();

 private:
  Group& group_;
  const Catalogue& catalogue_;
  std::vector<std::string> prefixes_;
  std::filesystem::path path_;
  SafetensorsLayout layout_;
  std::optional<SharedFile> file_;
};

/// The same values in files of a rank's own, FOLDER/part-RANK-NUMBER.safetensors: slices of stored tensors, each flat
/// and named PREFIX NAME@FIRST ELEMENT. Nobody waits for others, and nothing is read again. The files of all ranks
/// together have to make up every value once; then any ranks, of any mesh, read them. Errors as write_file_atomically.
class RankPartsWriter {
 public:
  /// A file has at most `most` bytes. `catalogue` must outlive it.
  RankPartsWriter(std::filesystem::path folder, int rank, const Catalogue& catalogue,
                  std::vector<std::string> prefixes, uint64_t most);
  void write(size_t set, const TensorPart& part);
  void finish();

 private:
  void write_slice(const std::string& name, int64_t first, std::span<const float> values);

  std::filesystem::path folder_;
  int rank_, number_ = 0;
  const Catalogue& catalogue_;
  std::vector<std::string> prefixes_;
  uint64_t most_;
  std::optional<SafetensorsStream> file_;
};
/// The least that files of it may be limited to.
inline constexpr uint64_t kLeastPartFile = uint64_t{1} << 20;
/// Whether a folder has such files.
bool is_in_parts(const std::filesystem::path& folder);

/// Reads parts of any of these, checking names and shapes as load_tensors() does, but no checksums: see
/// SafetensorsFile::verify. Of a folder that SafetensorsFolder reads it checks these too.
class PartReader {
 public:
  /// A file, a folder of whole tensors, or one of ranks' parts, which may have other prefixes too. `catalogue` must
  /// outlive it.
  PartReader(const std::filesystem::path& path, const Catalogue& catalogue,
             std::span<const std::string> prefixes);
  ~PartReader();
  /// Fills part.data.
  void read(size_t set, const TensorPart& part) const;

 private:
  struct Stored;
  const Catalogue& catalogue_;
  std::unique_ptr<Stored> stored_;
};

}  // namespace chorus::inline formats
