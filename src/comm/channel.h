// How the ranks of one group reach each other: what Group's operations are made of. MPI and NCCL are one
// implementation (mpi/); a test may have another.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <c10/core/Device.h>

namespace chorus::inline comm {

/// What goes to, or comes from, one rank.
struct Piece {
  char* data = nullptr;  // only read when it is sent
  size_t bytes = 0;
};

/// One operation at a time. Errors: Error, in the words of the transport; after the first all that follows.
class Channel {
 public:
  virtual ~Channel() = default;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] virtual int64_t bytes_sent() const = 0;
  virtual void set_timeout(double seconds) = 0;

  /// Sends send[r] to each rank r and fills receive[r] from it; both may be empty, those of the own rank too,
  /// which are copied unless they are one. All pieces lie on `device`, on all ranks on one of the same kind;
  /// on a GPU it happens after what the calling thread's stream was given before, and has happened when this
  /// comes back. `what` names the operation in messages.
  virtual void exchange(at::Device device, std::string_view what, std::span<const Piece> send,
                        std::span<const Piece> receive) = 0;

  /// Called by the ranks named.
  [[nodiscard]] virtual std::unique_ptr<Channel> subset(std::span<const int> ranks,
                                                        std::string name) const = 0;

 protected:
  explicit Channel(std::string name) : name_(std::move(name)) {}

  std::string name_;
  int rank_ = 0, size_ = 1;
};

}  // namespace chorus::inline comm
