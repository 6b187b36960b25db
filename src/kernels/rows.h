// Moving rows to experts and back: sort, gather, weighted combine, and their gradients. Rows are whole tokens
// [.., d] of fp32, bf16 or fp64; sums are accumulated in fp32 (fp64 for fp64) and in the order of the
// choices, so results do not depend on threads.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// The kept choices of N tokens, k each, sorted by expert: M rows.
struct ExpertOrder {
  at::Tensor ends;    // int32 [E] where each expert's rows end
  at::Tensor slot;    // int64 [N, k] sorted row of each choice, -1 when dropped
  at::Tensor token;   // int64 [M] token of each sorted row
  at::Tensor choice;  // int64 [M] which of the N k choices it is
};

/// kept: int64 [N, k], the expert of each choice or -1; the order lies where it does. Stable: within an expert, by
/// token and then by choice. On the host M is the number of those kept, and an expert that is not below `experts` an
/// Error. On a device, whose numbers the host does not wait for, M is `most`, at least as many: the rows behind those
/// kept are any tokens', and nobody's result.
ExpertOrder sort_by_expert(const at::Tensor& kept, int64_t experts, int64_t most);

/// How many rows each expert has and where they begin, for the host, which waits for it.
struct ExpertRows {
  std::vector<int64_t> counts, offsets;  // [E]
};
ExpertRows rows_of_experts(const ExpertOrder& order);

/// Gathers rows: x [N, d], index int64 [M] -> [M, d].
at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& index);
/// Gathers them into `out` [M, d], contiguous.
void gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& out);

/// rows [M, d], slot int64 [N, k], weight [N, k] fp32 (fp64 for fp64 rows) -> [N, d]: sum_j weight[t, j]
/// rows[slot[t, j]], in the type of `rows`. Slots of -1 contribute nothing.
at::Tensor combine_rows(const at::Tensor& rows, const at::Tensor& slot, const at::Tensor& weight);

/// rows [M, d], slot int64 [N, k] -> [N, d]: sum_j rows[slot[t, j]]. gather_rows' backward.
at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot);

/// Some of the rows of a tensor, from `first` on, that lie elsewhere.
struct RowsElsewhere {
  at::Tensor rows;  // [.., d] contiguous
  int64_t first = 0;
};
/// Does the same where some rows lie elsewhere: what `rows` has in their place is not read, and may be overwritten.
at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot, const RowsElsewhere& elsewhere);

}  // namespace chorus::inline kernels
