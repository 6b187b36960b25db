// Messages between the ranks of one group, through MPI or, between GPUs, NCCL: the only place that calls MPI
// but world.cpp.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <c10/core/Device.h>
#include <mpi.h>

namespace chorus {

class Nccl;

/// What goes to, or comes from, one rank.
struct Piece {
  char* data = nullptr;  // only read when it is sent
  size_t bytes = 0;
};

class Channel {
 public:
  /// Takes over `communicator`.
  Channel(MPI_Comm communicator, std::string name, double timeout);
  ~Channel();
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] int64_t bytes_sent() const { return bytes_sent_; }
  void set_timeout(double seconds) { timeout_ = seconds; }

  /// Sends send[r] to each rank r and fills receive[r] from it; both may be empty, those of the own rank too,
  /// which are copied unless they are one. `what` names the operation in messages.
  void exchange(std::string_view what, std::span<const Piece> send, std::span<const Piece> receive);
  /// Likewise for pieces that lie on this rank's GPU, on all ranks alike: through NCCL, after what the
  /// calling thread's stream was given before. It has happened when this comes back.
  void exchange_on_gpu(at::Device gpu, std::string_view what, std::span<const Piece> send,
                       std::span<const Piece> receive);

  /// Called by the ranks named.
  [[nodiscard]] std::unique_ptr<Channel> subset(std::span<const int> ranks, std::string name) const;

 private:
  class RollCall;
  /// Error when there was a time-out before: what is still to be done would wait for the same ranks.
  void check_alive() const;
  /// Until `done`; Error after the time-out.
  void wait(std::string_view what, const std::function<bool()>& done);

  MPI_Comm communicator_, watch_;  // watch_: where the ranks of a late operation are asked for
  std::string name_;
  double timeout_;  // seconds
  int rank_ = 0, size_ = 1;
  int64_t operations_ = 0;
  std::atomic<int64_t> bytes_sent_ = 0;
  std::string failure_;         // of the first time-out
  std::unique_ptr<Nccl> nccl_;  // once something lies on a GPU
};

}  // namespace chorus
