// Reads and writes of whole blocks of 4 KiB of an open file, many at a time, past the page cache where the file system
// lets them (O_DIRECT): through io_uring where the kernel lets this process use it, otherwise through a thread of the
// file's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>

namespace chorus::inline memory {

class BlockFile {
 public:
  static constexpr size_t kBlock = 4096;  // bytes: what offsets, sizes and addresses are multiples of

  enum class Engine { best, thread };
  /// What its errors say: "cannot read NAME: why; ADVICE".
  struct Words {
    std::string name, advice;
  };
  /// Takes over `fd`, and closes it in the end.
  BlockFile(int fd, Words words, Engine engine = Engine::best);
  ~BlockFile();
  BlockFile(const BlockFile&) = delete;
  BlockFile& operator=(const BlockFile&) = delete;

  // read() and write() return at once; the memory is the file's until wait() returns, unless they throw. Any thread
  // may call read(), write() and wait().
  using Request = uint64_t;  // never 0
  /// Begins to read. Only the first `needed` bytes must be there: the file may end behind them.
  Request read(uint64_t offset, void* data, size_t bytes, size_t needed = std::numeric_limits<size_t>::max());
  Request write(uint64_t offset, const void* data, size_t bytes);
  /// Waits until the request is done; called once for each. Error saying why it failed. Afterwards the memory is the
  /// caller's again.
  void wait(Request request);

  [[nodiscard]] bool uses_io_uring() const;
  struct Traffic {
    uint64_t read = 0, written = 0;  // bytes
  };
  [[nodiscard]] Traffic traffic() const;  // so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace chorus::inline memory
