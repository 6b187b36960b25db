// Sending tokens to the ranks that compute their experts, and back.
//
// The N tokens of a micro-batch are the same on all ranks of tp, and each of these sends its part of them, so
// that no token goes out twice:
//   - over ep, once to each rank that holds experts of the token, however many; only for kept choices, and
//     nothing padded;
//   - over etp, to the other ranks with parts of the same experts, each of which computes a part of the sum.
// The R rows that arrive look like a micro-batch of their own: rows, and for each up to k of this rank's
// experts with their weights. So a rank runs its experts by the same code as a process that has all of them.
// On the way back the outputs are added up over etp, returned over ep, added up over the ranks that computed
// a token, and shared by all ranks of tp.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/rows.h"
#include "parallel/mesh.h"

namespace chorus::inline moe {

/// Who sends how much to whom, for one micro-batch per rank of `parallel`, or some of its tokens.
class Exchange {
 public:
  /// kept: int64 [N, k] on the CPU, the expert of each choice or -1, of `experts` in all. Rows lie on `device`.
  /// `parallel` must outlive it.
  Exchange(Parallel& parallel, const at::Tensor& kept, int64_t experts, at::Device device);

  /// Into how many chunks, each exchanged on its own, the tokens must be cut so that no rank gets more than
  /// `crowd` times the rows at once that it has to expect (those of all tokens, times k, divided by ep). 1
  /// where no rank gets more anyway. The same number on all ranks that wait for each other, which call it together.
  [[nodiscard]] int64_t chunks(int64_t crowd) const;

  /// [R, k] the choices of the rows received, where rows lie, as this rank numbers its experts, -1 for those that are
  /// elsewhere.
  [[nodiscard]] at::Tensor kept() const;

  /// [N, d] -> [R, d]; with d = k, one value per choice, also of choices that are elsewhere.
  at::Tensor send_rows(const at::Tensor& rows) const;
  /// [R, d], of which each rank of etp has a part of the sum -> [N, d]: the sum over the ranks that a token
  /// was sent to, 0 where it was sent to none. So one value per choice, 0 for choices that are elsewhere,
  /// comes back to its place.
  at::Tensor return_rows(const at::Tensor& rows) const;

 private:
  [[nodiscard]] at::Tensor forth(const at::Tensor& own_rows) const;
  [[nodiscard]] at::Tensor back(const at::Tensor& rows) const;
  [[nodiscard]] at::Tensor own(const at::Tensor& x) const { return x.narrow(0, own_.first, own_.count); }
  [[nodiscard]] at::Tensor shared(const at::Tensor& own_rows) const;

  Parallel* parallel_;
  int64_t tokens_, experts_here_;
  Stretch own_;                    // of the tokens, those that this rank sends
  at::Tensor own_kept_;            // [own_.count, k] where rows lie
  at::Tensor sent_token_, slot_;   // of the rows sent: ExpertOrder's, by rank of ep instead of by expert
  ExpertRows sent_;                // to each rank of ep
  Stretch left_;                   // of these rows, those for this rank itself, which stay here
  std::vector<int64_t> received_;  // rows from each rank of ep
  int64_t left_at_ = 0;            // where left_ begins among the rows received
  std::vector<int64_t> gathered_;  // rows of each rank of etp
  int64_t rows_ = 0;               // R
  int64_t most_rows_ = 0;          // of all ranks of ep and etp, as all_tokens_
  int64_t all_tokens_ = 0;
};

}  // namespace chorus::inline moe
