// The weights that a rank holds, in buckets: stretches of memory that are whole, or in equal parts on the
// ranks that share them, together.
//
// A bucket holds the parameters of one block that have one role and one type. Each begins at a multiple of 16
// elements and is a view into the bucket's flat tensors, so that one message moves a block's weights or
// gradients, and emptying the flat tensor's storage frees them all.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/model/catalogue.h"
#include "chorus/parallel/mesh.h"

namespace chorus {

/// What of a parameter a rank holds: consecutive elements of it.
struct LocalPart {
  std::vector<int64_t> shape;
  int64_t first = 0;  // in the whole parameter, row-major
};
/// Whole, or a part of the experts.
LocalPart local_part(const ParameterSpec& spec, const Parallel& parallel);

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

/// Of the parameters that a rank holds, by block; without tensors.
std::vector<Bucket> plan_buckets(const Catalogue& catalogue, const Parallel& parallel,
                                 at::ScalarType compute);

/// Of a parameter in a model that computes in `compute`.
at::ScalarType value_type(const ParameterSpec& spec, at::ScalarType compute);

/// Frees a flat tensor's memory, and gives it memory again, whose contents are then undefined: the views into
/// it come and go with it. CPU only.
void release(const at::Tensor& flat);
void restore(const at::Tensor& flat);
bool is_present(const at::Tensor& flat);

}  // namespace chorus
