// How a bucket's flat arrays are cut into chunks.
#pragma once

#include <vector>

#include "layout/buckets.h"
#include "memory/arrays.h"

namespace chorus::inline state {

/// Chunks of elements [begin, end) of a bucket.
struct Division {
  Arrays::Cuts cuts = {0};  // from `begin` on
  // Of each chunk, the expert whose weights it has, by its number on this rank; -1: no expert's alone.
  std::vector<int64_t> expert_of;
};
/// Each expert's weights have chunks of their own. The bucket is one of those that plan_buckets() makes for
/// `place`.
Division divide(const Bucket& bucket, const Catalogue& catalogue, const Place& place, int64_t begin,
                int64_t end);

/// Whether a parameter has one slice per expert that chunks keep apart: weights have, biases have not.
inline bool is_divided(const ParameterSpec& spec) {
  return spec.role == Role::expert && spec.shape.size() == 3;
}

}  // namespace chorus::inline state
