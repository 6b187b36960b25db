// Sending tokens to the ranks that compute their experts, and back.
//
//   N tokens, the same on all ranks of tp: each rank sends its part of them, so that none goes out twice
//   over ep: to the ranks that hold a token's experts, once to each, however many of its experts live there;
//            only for kept choices, nothing padded
//   over etp: to the other ranks that have parts of the same experts, each of which computes a part of the
//   sum R rows   that look like a micro-batch of its own: rows, and for each up to k of this rank's experts
//   with
//            their weights. So ranks run their experts by the code that one process runs all of them by
//   and back: added up over etp, returned over ep, added up over the experts, and shared by all ranks of tp
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/kernels/rows.h"
#include "chorus/parallel/mesh.h"

namespace chorus {

/// Who sends how much to whom, for one micro-batch a rank of `parallel`, or some of its tokens.
class Exchange {
 public:
  /// kept: int64 [N, k] on the CPU, the expert of each choice or -1, of `experts` in all.
  Exchange(Parallel& parallel, const at::Tensor& kept, int64_t experts);

  /// Into how many chunks tokens must be cut, each to be exchanged on its own, for no rank to get more than
  /// `crowd` times the rows at once that it has to expect: those of all tokens, k times, over ep. 1 where it
  /// doesn't as they are. The same number on all ranks.
  [[nodiscard]] int64_t chunks(int64_t crowd) const;

  /// [R, k] the choices of the rows received, as this rank numbers its experts, -1 for those that are
  /// elsewhere.
  [[nodiscard]] at::Tensor kept() const;

  /// [N, d] -> [R, d].
  at::Tensor send_rows(const at::Tensor& rows) const;
  /// [R, d], of which each rank of etp has a part of the sum -> [N, d]: the sum over the ranks that a token
  /// was sent to, 0 without any.
  at::Tensor return_rows(const at::Tensor& rows) const;
  /// [N, k], a value a choice -> [R, k]; what belongs to choices that are elsewhere is 0.
  at::Tensor send_choices(const at::Tensor& values) const;
  /// [R, k], parts of sums as above -> [N, k].
  at::Tensor return_choices(const at::Tensor& values) const;

 private:
  [[nodiscard]] at::Tensor forth(const at::Tensor& rows) const;
  [[nodiscard]] at::Tensor back(const at::Tensor& rows) const;
  [[nodiscard]] at::Tensor own(const at::Tensor& x) const { return x.narrow(0, own_.first, own_.count); }
  [[nodiscard]] at::Tensor shared(const at::Tensor& own_rows) const;

  Parallel& parallel_;
  int64_t tokens_, experts_here_;
  Stretch own_;                    // of the tokens, those that this rank sends
  at::Tensor own_kept_;            // [own_.count, k]
  ExpertOrder order_;              // of the rows sent: by rank of ep instead of by expert
  at::Tensor here_;                // bool [S, k] which choices of its token a row sent is for
  std::vector<int64_t> received_;  // rows from each rank of ep; order_.counts are those to each
  std::vector<int64_t> gathered_;  // rows of each rank of etp
  int64_t rows_ = 0;               // R
  int64_t most_rows_ = 0;          // of all ranks of ep and etp, as all_tokens_
  int64_t all_tokens_ = 0;
};

}  // namespace chorus
