// Messages between the ranks of one group, through MPI or, between GPUs, NCCL.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <mpi.h>

#include "comm/channel.h"

namespace chorus::inline mpi {

class Nccl;

class MpiChannel : public Channel {
 public:
  /// Takes over `communicator`.
  MpiChannel(MPI_Comm communicator, std::string name, double timeout);
  ~MpiChannel() override;
  MpiChannel(const MpiChannel&) = delete;
  MpiChannel& operator=(const MpiChannel&) = delete;

  [[nodiscard]] int64_t bytes_sent() const override { return bytes_sent_; }
  void set_timeout(double seconds) override { timeout_ = seconds; }
  void exchange(at::Device device, std::string_view what, std::span<const Piece> send,
                std::span<const Piece> receive) override;
  [[nodiscard]] std::unique_ptr<Channel> subset(std::span<const int> ranks, std::string name) const override;

 private:
  class RollCall;
  void exchange_on_host(std::string_view what, std::span<const Piece> send, std::span<const Piece> receive);
  /// Exchanges through copies on the host, for devices that have no transport of their own.
  void exchange_by_host(at::Device device, std::string_view what, std::span<const Piece> send,
                        std::span<const Piece> receive);
  void exchange_on_gpu(at::Device gpu, std::string_view what, std::span<const Piece> send,
                       std::span<const Piece> receive);
  /// Waits until `done`; Error after the time-out.
  void wait(std::string_view what, const std::function<bool()>& done);

  MPI_Comm communicator_, watch_;  // watch_: where the ranks of a late operation are asked for
  double timeout_;                 // seconds
  int64_t operations_ = 0;
  std::atomic<int64_t> bytes_sent_ = 0;
  std::string failure_;         // the first: what is still to be done would wait for the same ranks
  std::unique_ptr<Nccl> nccl_;  // once something lies on a GPU
};

}  // namespace chorus::inline mpi
