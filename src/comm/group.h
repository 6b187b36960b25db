// Collectives over a group of processes ("ranks").
//
// All ranks of a group make the same calls in the same order. What lies on the CPU goes through MPI, what
// lies on a GPU through NCCL; a group of one rank sends nothing and needs neither. Sums are added in the
// order of the ranks, so every rank gets the same bits.
//
// A rank that has waited for the time-out throws Error naming the operation, the group, and the ranks that
// are not there; a little before it has asked the others where they are. The group is of no use afterwards:
// whatever else waits in it throws the same. Error also where ranks disagree on sizes.
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline comm {

class Channel;
struct Piece;

class Group {
 public:
  static constexpr int64_t kScratch = 16 << 20;  // bytes in which the parts of a sum arrive, at most

  /// This process alone.
  Group();
  explicit Group(std::unique_ptr<Channel> channel);
  ~Group();
  Group(Group&&) noexcept;
  Group& operator=(Group&&) noexcept;

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  /// Returns the name by which messages call it: "world", "dp".
  [[nodiscard]] const std::string& name() const;

  // Tensors are contiguous, and on all ranks on the CPU or on each one's GPU.

  /// Sets x to the sum over the ranks. fp32, fp64, int64, or bf16 (added in fp32 and rounded once).
  void all_reduce(const at::Tensor& x);
  /// Returns the sum of x over the ranks.
  double sum(double x);
  /// Returns the largest x of the ranks.
  int64_t max(int64_t x);
  /// Sets out to the sum of part rank() of `in`, which has size() parts of out's elements each. Types as in
  /// all_reduce; with fp32 `out` and bf16 `in` nothing is rounded.
  void reduce_scatter(const at::Tensor& out, const at::Tensor& in);
  /// Does the same for parts of different sizes: part r of `in` has rows[r] rows.
  void reduce_scatter(const at::Tensor& out, const at::Tensor& in, std::span<const int64_t> rows);
  /// Gathers each rank's `in` in `out`: size() parts of in's elements each, in the order of the ranks; `in` may be
  /// its own part of `out`.
  void all_gather(const at::Tensor& out, const at::Tensor& in);
  /// Does the same for parts of different sizes: part r of `out` has rows[r] rows.
  void all_gather(const at::Tensor& out, const at::Tensor& in, std::span<const int64_t> rows);
  /// Sends the first send[0] rows of `in` to rank 0, the next send[1] to rank 1, and so on; receive[r] rows of `out`
  /// come from rank r, likewise. Only these rows are sent; those for this rank itself are neither read nor written,
  /// and are the caller's to copy. Where each of several hosts has several of the ranks, as many and in order, rows
  /// go from host to host in one message and are passed on there.
  void all_to_all(const at::Tensor& out, std::span<const int64_t> receive, const at::Tensor& in,
                  std::span<const int64_t> send);
  /// Waits for all; `what` names it in messages.
  void barrier(std::string_view what);
  /// Returns every rank's text, on every rank.
  std::vector<std::string> gather_text(std::string_view text);
  /// Returns rank 0's text, on every rank; what others give is not looked at.
  std::string broadcast_text(std::string_view text);

  /// Runs `work`, which may use this group, on a thread of the group's own, after what was given to it
  /// before, with the caller's settings of libtorch (gradients, profiling). While something is pending only
  /// such work may use the group: Error otherwise.
  std::future<void> later(std::function<void()> work);

  /// Makes a group of `ranks` (numbers in this group, this rank's among them, in the order of their new numbers).
  /// Called by these ranks only.
  [[nodiscard]] Group subset(std::span<const int> ranks, std::string name) const;

  /// Sets the number of each rank's host. World knows; tests may say otherwise.
  void set_hosts(std::vector<int> host_of_rank);
  /// Returns how many of the ranks are on this one's host.
  [[nodiscard]] int ranks_here() const;
  /// Returns the number of this rank among those.
  [[nodiscard]] int rank_here() const;

  /// Returns the bytes sent to other ranks so far.
  [[nodiscard]] int64_t bytes_sent() const;
  /// Sets the time-out of this group, and of those made from it later, in seconds. 600 by default.
  void set_timeout(double seconds);

 private:
  class Queue;
  Channel& channel();
  void exchange(at::Device device, std::string_view what, std::span<const Piece> send,
                std::span<const Piece> receive);

  int rank_ = 0, size_ = 1;
  std::vector<int> hosts_;            // of each rank
  int ranks_a_host_ = 0;              // where all_to_all goes in two steps; 0: it doesn't
  std::unique_ptr<Channel> channel_;  // null for one rank
  std::unique_ptr<Queue> queue_;
};

}  // namespace chorus::inline comm
