// Which hidden unit of one expert corresponds to which of another.
#pragma once

#include <cstdint>
#include <vector>

#include "surgery/internal/compose.h"

namespace chorus::inline surgery {

/// The assignment of columns to rows with the largest sum of `scores`, fp32 [n, n], contiguous: result[row]
/// is a column. Shortest augmenting paths (Jonker and Volgenant 1987), n^3 operations at worst.
std::vector<int64_t> best_assignment(const at::Tensor& scores);

/// Ingredient::units with which expert `other` of a layer is most like expert `expert`, of the same source.
std::vector<int64_t> align_units(const Source& source, const FeedForwardIndex& layer, int64_t expert,
                                 int64_t other);

}  // namespace chorus::inline surgery
