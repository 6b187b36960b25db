// Messages between the GPUs of a group's ranks, through NCCL. In a chorus built without it (see
// docs/building.md) the constructor is an Error.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <c10/core/Device.h>

namespace chorus::inline comm {
struct Piece;
}

namespace chorus::inline mpi {

class Nccl {
 public:
  static constexpr size_t kIdBytes = 128;
  /// What one rank makes and tells the others, so that they find each other: kIdBytes.
  static std::string new_id();

  Nccl(std::string_view id, int rank, int size, at::Device device);
  ~Nccl();
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  /// Begins to send send[r] to each rank r and to fill receive[r] from it, after what the calling thread's
  /// stream was given before. One at a time: done() must have been true.
  void start(std::span<const Piece> send, std::span<const Piece> receive);
  /// Whether the ranks have found each other and, if something was started, all of it has happened. Error
  /// where NCCL has one.
  bool done();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace chorus::inline mpi
