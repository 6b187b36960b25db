// A file that holds what does not fit into memory, for as long as the process lives.
//
// It has no name: whatever becomes of the process, the kernel gives its space back, and no run finds what a
// dead one left. How it is read and written: memory/block_file.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include <ATen/core/Tensor.h>

#include "memory/block_file.h"

namespace chorus::inline memory {

class ScratchFile {
 public:
  static constexpr size_t kBlock = BlockFile::kBlock;
  using Engine = BlockFile::Engine;
  /// Makes a file in `folder`, which is made if it isn't there. UserError when no file can be made there.
  explicit ScratchFile(const std::filesystem::path& folder, Engine engine = Engine::best);

  /// Sets space aside and returns where it begins. UserError when the disk has too little, saying how much it
  /// would take.
  uint64_t reserve(uint64_t bytes);

  // As BlockFile has them.
  using Request = BlockFile::Request;
  Request read(uint64_t offset, void* data, size_t bytes) { return file_->read(offset, data, bytes); }
  Request write(uint64_t offset, const void* data, size_t bytes) { return file_->write(offset, data, bytes); }
  void wait(Request request) { file_->wait(request); }

  [[nodiscard]] bool uses_io_uring() const { return file_->uses_io_uring(); }
  [[nodiscard]] uint64_t size() const { return size_; }  // bytes reserved
  using Traffic = BlockFile::Traffic;
  [[nodiscard]] Traffic traffic() const { return file_->traffic(); }

 private:
  std::filesystem::path folder_;
  int fd_ = -1;  // which file_ closes
  uint64_t size_ = 0;
  std::unique_ptr<BlockFile> file_;
};

/// The checksum of a tensor's bytes, to be taken as it is written; and, when it has come back, an Error where they have
/// another.
uint64_t scratch_hash(const at::Tensor& memory);
void check_scratch(const at::Tensor& memory, uint64_t hash);

}  // namespace chorus::inline memory
