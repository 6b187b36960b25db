// The chunks of arrays on disk that have memory now: those that are being read, and those being written.
#pragma once

#include <cstdint>
#include <map>
#include <utility>

namespace chorus::inline memory {

inline constexpr int64_t kMostOfAChunk = int64_t{1} << 20;  // elements of each array

/// A Buffer is a chunk's memory and the system's read or write of it, for which wait() waits; or, where
/// memory is only planned, the chunk's bytes in a ledger. Reading waits for a write of the same chunk.
template <class Buffer>
class InFlight {
 public:
  /// Most elements of each array that are being written at a time: until then their memory is held.
  static constexpr int64_t kBeingWritten = 2 * kMostOfAChunk;

  /// Calls begin(buffer), which must begin to read the chunk, unless it is being read already.
  template <class Begin>
  void read(int64_t chunk, const Begin& begin) {
    if (reading_.contains(chunk)) return;
    finish_write(chunk);
    begin(reading_[chunk]);  // there before the kernel has its memory
  }
  /// Waits until the read that read() began is done, and returns its buffer.
  Buffer take(int64_t chunk) {
    auto node = reading_.extract(chunk);
    node.mapped().wait();
    return std::move(node.mapped());
  }
  /// Calls begin(buffer), which must begin to write a chunk of `size` elements of each array.
  template <class Begin>
  void write(int64_t chunk, int64_t size, const Begin& begin) {
    finish_write(chunk);
    while (!writing_.empty() && being_written_ + size > kBeingWritten) finish_write(writing_.begin()->first);
    Write& write = writing_[chunk];
    write.size = size;
    being_written_ += size;
    begin(write.buffer);
  }
  /// Waits until all is written.
  void finish() {
    while (!writing_.empty()) finish_write(writing_.begin()->first);
  }
  /// Calls f(buffer) for all that are being read or written.
  template <class F>
  void for_each(const F& f) {
    for (auto& [chunk, buffer] : reading_) f(buffer);
    for (auto& [chunk, write] : writing_) f(write.buffer);
  }

 private:
  struct Write {
    Buffer buffer;
    int64_t size = 0;
  };
  void finish_write(int64_t chunk) {
    auto write = writing_.extract(chunk);
    if (write.empty()) return;
    being_written_ -= write.mapped().size;
    write.mapped().buffer.wait();
  }

  std::map<int64_t, Buffer> reading_;
  std::map<int64_t, Write> writing_;
  int64_t being_written_ = 0;
};

}  // namespace chorus::inline memory
