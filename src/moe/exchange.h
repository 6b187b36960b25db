// Sending tokens to the ranks that hold their experts, and back.
//
// A token is sent to a rank once, however many of its experts live there; only kept choices are sent, and
// nothing is padded. What arrives at a rank looks like a micro-batch of its own: rows, and for each row up to
// k of this rank's experts with their weights. So ranks run their experts by the code that one process runs
// all of them by.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/base/random.h"
#include "chorus/comm/group.h"
#include "chorus/kernels/rows.h"

namespace chorus {

/// Who sends how much to whom, for one micro-batch a rank of `group`. N: tokens here; S: rows sent; R: rows
/// received, by rank.
class Exchange {
 public:
  /// kept: int64 [N, k] on the CPU, the expert of each choice or -1; the ranks hold `experts` / size() each,
  /// in their order. `key` goes along.
  Exchange(Group& group, const at::Tensor& kept, int64_t experts, RandomKey key);

  /// [R, k] the choices of the rows received, as this rank numbers its experts, -1 for those that are
  /// elsewhere.
  [[nodiscard]] const at::Tensor& kept() const { return kept_; }
  [[nodiscard]] int64_t experts() const { return experts_; }  // held here
  /// Of each rank: how many of the rows are its, and its key.
  struct Source {
    int64_t rows = 0;
    RandomKey key = RandomKey();
  };
  [[nodiscard]] const std::vector<Source>& sources() const { return sources_; }

  /// [N, d] -> [R, d].
  at::Tensor send_rows(const at::Tensor& rows) const;
  /// [R, d] -> [N, d]: the sum over the ranks that a token was sent to, 0 without any.
  at::Tensor return_rows(const at::Tensor& rows) const;
  /// [N, k], a value a choice -> [R, k]; what belongs to choices that are elsewhere is 0.
  at::Tensor send_choices(const at::Tensor& values) const;
  /// [R, k] -> [N, k].
  at::Tensor return_choices(const at::Tensor& values) const;

 private:
  [[nodiscard]] at::Tensor exchanged(const at::Tensor& rows, bool back) const;

  Group& group_;
  int64_t experts_;
  ExpertOrder order_;             // of the rows sent: by rank instead of by expert
  at::Tensor here_;               // bool [S, k] which choices of its token a row sent is for
  std::vector<int64_t> receive_;  // rows from each rank; order_.counts are those to each
  std::vector<Source> sources_;
  at::Tensor kept_;
};

}  // namespace chorus
