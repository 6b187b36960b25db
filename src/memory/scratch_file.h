// A file that holds what does not fit into memory, for as long as the process lives.
//
// It has no name: whatever becomes of the process, the kernel gives its space back, and no run finds what a
// dead one left. Reads and writes are of whole blocks of 4 KiB, many at a time, and go past the page cache
// where the file system lets them (O_DIRECT): through io_uring where the kernel lets this process use it,
// otherwise through a thread of the file's own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

namespace chorus::inline memory {

class ScratchFile {
 public:
  static constexpr size_t kBlock = 4096;  // bytes: what offsets, sizes and addresses are multiples of

  enum class Engine { best, thread };
  /// In `folder`, which is made if it isn't there. UserError when no file can be made there.
  explicit ScratchFile(const std::filesystem::path& folder, Engine engine = Engine::best);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  /// Sets space aside and returns where it begins. UserError when the disk has too little, saying how much it
  /// would take.
  uint64_t reserve(uint64_t bytes);

  // These return at once; the memory is the file's until wait(), unless they throw. Any thread may call them.
  using Request = uint64_t;  // never 0
  Request read(uint64_t offset, void* data, size_t bytes);
  Request write(uint64_t offset, const void* data, size_t bytes);
  /// Until that is done, once for each request. Error saying why it failed; the memory is the caller's again.
  void wait(Request request);

  [[nodiscard]] bool uses_io_uring() const;
  [[nodiscard]] uint64_t size() const;  // bytes reserved
  struct Traffic {
    uint64_t read = 0, written = 0;  // bytes
  };
  [[nodiscard]] Traffic traffic() const;  // so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace chorus::inline memory
