// A large file that is written once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace chorus::inline io {

/// A file that is written from its first byte to its last, past the page cache where the file system lets it
/// (O_DIRECT): the kernel neither copies it nor writes it back later, and what others have in the cache stays. Its
/// head may be written last. For files in a folder that is to appear whole. Errors as write_file_atomically;
/// destroyed before commit(), it is removed.
class DirectFile {
 public:
  explicit DirectFile(std::filesystem::path path);
  ~DirectFile();
  DirectFile(const DirectFile&) = delete;
  DirectFile& operator=(const DirectFile&) = delete;
  /// Writes behind what was written before.
  void write(const void* data, size_t bytes);
  /// Writes `head` over the first bytes, and syncs. Nothing may follow.
  void commit(std::string_view head);

 private:
  struct Free {
    void operator()(std::byte* block) const;
  };
  void flush(size_t bytes);

  std::filesystem::path path_;
  int fd_ = -1;
  std::unique_ptr<std::byte[], Free> block_;  // whole blocks of the disk
  size_t taken_ = 0;                          // bytes of it
  uint64_t written_ = 0;                      // bytes before it
};

}  // namespace chorus::inline io
