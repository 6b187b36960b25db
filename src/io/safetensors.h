// The safetensors format (https://github.com/huggingface/safetensors), without libtorch.
//
// A file is: a little-endian u64 N; N bytes of JSON, {"__metadata__": {text: text}, "NAME": {"dtype",
// "shape", "data_offsets": [begin, end]}, ...}; the tensors' bytes, row-major and little-endian, without a
// gap.
//
// What SafetensorsWriter writes is read by every other reader, and notices its own damage: the metadata entry
// "chorus.xxh3" holds, as 16 hexadecimal digits each, the XXH3-64 of the 8 + N bytes of the header (with
// these first 16 digits as zeros) and then of each tensor in the order of the data. Other programs' files
// carry no such entry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/direct_file.h"
#include "io/files.h"

namespace chorus::inline io {

enum class DType : uint8_t { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };
size_t size_of(DType dtype);            // bytes
std::string_view name_of(DType dtype);  // as in the file: "F32", "BF16", "BOOL"

struct TensorSpec {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;  // empty for a scalar
};
/// Bytes that a tensor takes. Error on a negative dimension, and when the product of the dimensions that are
/// not zero does not fit 63 bits of bytes.
size_t bytes_of(const TensorSpec& tensor);

/// A tensor inside a mapped file; lives as long as the file object.
struct TensorView {
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  // size_of(dtype) * product of shape; other programs' files may not align them. With strides, from the first
  // element to the last.
  std::span<const std::byte> bytes;
  std::vector<int64_t> strides = {};  // in elements, where they do not lie in row-major order (TorchFile)
};

/// What the head of a file says, checked against the size of the file.
struct SafetensorsHeader {
  static constexpr size_t kLongest = 100'000'000;  // bytes, as in the reference implementation
  static constexpr std::string_view kMetadata = "__metadata__";
  struct Tensor : TensorSpec {
    size_t begin = 0, end = 0;  // bytes in the file
  };
  std::vector<Tensor> tensors;  // in the order of the data, which they fill without gap or overlap
  std::map<std::string, std::string> metadata;
  size_t bytes = 0;  // 8 + N
};
/// Checks every length, type, shape and offset in the header of a whole file. UserError naming `path` (and
/// the tensor). The contents may be anything; work and memory are bounded by the file's size, and the header
/// by 100 MB.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& path);

/// Which tensors, by name; empty: none.
using TensorFilter = std::function<bool(std::string_view name)>;

class SafetensorsFile {
 public:
  /// Maps the file and checks its header. UserError as read_file and parse_safetensors.
  explicit SafetensorsFile(std::filesystem::path path);
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::vector<std::string> names() const;  // in the order of the data
  [[nodiscard]] bool contains(std::string_view name) const { return index_.contains(name); }
  /// UserError naming the file and the tensor when it is not there.
  [[nodiscard]] TensorView get(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return header_.metadata; }
  /// Whether SafetensorsWriter wrote it.
  [[nodiscard]] bool has_checksums() const;

  /// Reads all bytes but those of tensors that are to be left `unread`, large files on all cores, and compares them
  /// with the checksums: UserError naming the file and the damaged tensor. False when the file carries none, so that
  /// nothing is known; a file of SafetensorsWriter without them is a damaged one.
  [[nodiscard]] bool verify(const TensorFilter& unread = {}) const;
  struct Place {
    uint64_t offset = 0;  // bytes
    std::optional<uint64_t> checksum;
  };
  /// Returns the place of a tensor that get() returned; none: it is not of this file. The checksum means something
  /// once verify() has looked at the header.
  [[nodiscard]] std::optional<Place> place_of(const TensorView& tensor) const;
  /// XXH3-64 of the header. With checksums it stands for the whole contents.
  [[nodiscard]] uint64_t hash() const;

 private:
  void for_each_tensor(const std::function<void(size_t index)>& visit) const;
  /// Returns the checksums of the header and each tensor, 16 digits each; empty where it carries none. UserError
  /// where they are too few or many.
  [[nodiscard]] std::string_view checksums() const;
  [[noreturn]] void fail_by_header() const;

  std::filesystem::path path_;
  MappedFile file_;
  SafetensorsHeader header_;
  std::map<std::string, size_t, std::less<>> index_;  // name -> position in header_.tensors
};

/// A model's tensors: FOLDER/model.safetensors, or the shards that FOLDER/model.safetensors.index.json lists.
class SafetensorsFolder {
 public:
  /// UserError when neither is there, when a shard is missing or lacks a tensor, and when the index names a
  /// file outside the folder. Tensors of a shard that the index does not list are left out.
  explicit SafetensorsFolder(const std::filesystem::path& folder);
  [[nodiscard]] std::vector<std::string> names() const;  // file by file
  [[nodiscard]] bool contains(std::string_view name) const { return index_.contains(name); }
  [[nodiscard]] TensorView get(std::string_view name) const;
  [[nodiscard]] const std::vector<SafetensorsFile>& files() const { return files_; }
  /// SafetensorsFile::verify of every file; true when all carry checksums.
  [[nodiscard]] bool verify(const TensorFilter& unread = {}) const;
  struct Place : SafetensorsFile::Place {
    size_t file = 0;  // of files()
  };
  /// Returns the place of a tensor that get() returned.
  [[nodiscard]] Place place_of(const TensorView& tensor) const;

 private:
  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t, std::less<>> index_;  // name -> position in files_
};

/// A file of SafetensorsWriter before its tensors: where each one goes.
class SafetensorsLayout {
 public:
  struct Tensor {
    std::string name;
    uint64_t begin = 0, end = 0;  // bytes in the file
  };
  /// Lays tensors out as SafetensorsWriter; `path` for errors. The header takes at least `room` bytes.
  SafetensorsLayout(const std::filesystem::path& path, const std::vector<TensorSpec>& tensors,
                    const std::map<std::string, std::string>& metadata = {}, uint64_t room = 0);

  [[nodiscard]] const std::vector<Tensor>& tensors() const { return tensors_; }  // in the order of the data
  /// The position of a tensor in tensors(); none when it was not declared.
  [[nodiscard]] std::optional<size_t> find(std::string_view name) const;
  [[nodiscard]] uint64_t bytes() const;  // of the whole file
  /// The header, with the hash of each tensor.
  [[nodiscard]] std::string header(std::span<const uint64_t> hashes) const;
  /// What SafetensorsFile::hash() gives for a file with this header.
  [[nodiscard]] uint64_t hash(std::string_view header) const;

 private:
  std::string header_;    // the first 8 + N bytes, digits of the checksums as zeros
  size_t digits_at_ = 0;  // where they are in header_
  std::vector<Tensor> tensors_;
  std::map<std::string, size_t, std::less<>> index_;  // name -> position in tensors_
};

/// Writes a file whose tensors are known beforehand and whose bytes come one after the other; it appears
/// under its name when commit() returns (see AtomicFile), and never otherwise. Memory does not grow with the
/// tensors.
class SafetensorsWriter {
 public:
  /// Tensors are laid out in this order, those of wider types first, so that each is aligned to its type.
  /// `metadata` is added to {"format": "pt"}. Error on a name given twice, as "__metadata__" or not in UTF-8,
  /// and on an impossible shape.
  SafetensorsWriter(std::filesystem::path path, const std::vector<TensorSpec>& tensors,
                    const std::map<std::string, std::string>& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  /// Writes the next bytes of a tensor: all of it, or piece after piece. Tensors come in any order, also interleaved.
  /// Error on an unknown name or more bytes than the tensor has.
  void write(std::string_view name, std::span<const std::byte> bytes);
  /// Ends the file. Error naming the first tensor that is not complete.
  void commit();
  /// What SafetensorsFile::hash() gives for the file; after commit().
  [[nodiscard]] uint64_t hash() const { return hash_; }

 private:
  struct Progress;  // of one tensor
  std::filesystem::path path_;
  SafetensorsLayout layout_;
  AtomicFile file_;
  std::vector<Progress> progress_;  // as layout_.tensors()
  uint64_t hash_ = 0;
};

/// Writes a file whose tensors, all of one type, become known one after the other, as DirectFile. The header has its
/// room before them.
class SafetensorsStream {
 public:
  /// `room`: bytes for the header.
  SafetensorsStream(std::filesystem::path path, uint64_t room);
  /// Whether the header has room for one more.
  [[nodiscard]] bool takes(const TensorSpec& tensor) const;
  /// Writes all bytes of a tensor. Error where the header does not take it, or as SafetensorsWriter's constructor.
  void write(const TensorSpec& tensor, std::span<const std::byte> bytes);
  [[nodiscard]] uint64_t bytes() const { return bytes_; }  // of the file so far
  void commit();

 private:
  std::filesystem::path path_;
  uint64_t room_, taken_ = 0, bytes_;  // of the header, by what it has to list; of the file
  DirectFile file_;
  std::vector<TensorSpec> tensors_;
  std::vector<uint64_t> hashes_;
};

}  // namespace chorus::inline io
