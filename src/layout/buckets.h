// The weights that a rank holds, in buckets: stretches of memory, each either whole, or in equal parts on the
// ranks that share it.
//
// A bucket holds the parameters of one block that have one role and one type. Each begins at a multiple of 16
// elements and is a view into the bucket's flat tensors, so that one message moves a block's weights or
// gradients, and emptying the flat tensor's storage frees them all.
#pragma once

#include <algorithm>
#include <vector>

#include <ATen/core/Tensor.h>

#include "layout/catalogue.h"
#include "parallel/mesh.h"

namespace chorus::inline layout {

/// The part of a parameter that a rank holds. With the parameter seen as [groups, rows, width], row-major, it
/// is the same rows of some consecutive groups.
struct LocalPart {
  std::vector<int64_t> shape;  // of what is held
  int64_t rows = 1, width = 1;
  int64_t first_group = 0, first_row = 0, row_count = 1;
  // Another rank, which shares this one's micro-batches, holds the same part; where each element is to count
  // once, the part counts on that rank.
  bool double_of_another = false;

  /// Elements begin .. end of the part, stretch by stretch of the whole parameter:
  /// f(first in the whole, first in the part, count).
  template <class F>
  void for_runs(int64_t begin, int64_t end, const F& f) const {
    const int64_t size = row_count * width;  // of a stretch; everything where whole groups are held
    const bool whole = row_count == rows;
    while (begin < end) {
      const int64_t group = begin / size, at = begin % size;
      const int64_t count = whole ? end - begin : std::min(end - begin, size - at);
      f(((first_group + group) * rows + first_row) * width + at, begin, count);
      begin += count;
    }
  }
};
LocalPart local_part(const ParameterSpec& spec, const Place& place);

struct Bucket {
  size_t block = 0;  // ParameterSpec::block
  Role role = Role::dense;
  at::ScalarType type = at::kFloat;  // of the values
  std::vector<size_t> parameters;    // in the catalogue's order
  std::vector<int64_t> offsets;      // of each in the flat tensors
  int64_t elements = 0;  // of the flat tensors: a multiple of 16 times the ranks that share the bucket
  at::Tensor values;     // [elements]; gaps hold anything
  at::Tensor gradients;  // [elements] fp32 (fp64 for fp64 values); likewise
};

/// Returns the buckets of the parameters that a rank holds, by block; without tensors.
std::vector<Bucket> plan_buckets(const Catalogue& catalogue, const Place& place, at::ScalarType compute);

/// The type of a parameter in a model that computes in `compute`.
at::ScalarType value_type(const ParameterSpec& spec, at::ScalarType compute);

/// Frees a flat tensor's memory, and gives it memory again, whose contents are then undefined: the views into
/// it come and go with it.
void release(const at::Tensor& flat);
void restore(const at::Tensor& flat);
bool is_present(const at::Tensor& flat);

}  // namespace chorus::inline layout
