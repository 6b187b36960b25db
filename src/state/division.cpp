#include "state/division.h"

#include <algorithm>

namespace chorus::inline state {

namespace {

/// Consecutive elements of a bucket.
struct Segment {
  int64_t end = 0;
  int64_t expert = -1;
};

/// All of a bucket's, without a gap.
std::vector<Segment> segments_of(const Bucket& bucket, const Catalogue& catalogue, const Place& place) {
  std::vector<Segment> segments;
  const auto add = [&](const Segment& segment) {
    const bool goes_on = !segments.empty() && segments.back().expert == segment.expert;
    goes_on ? segments.back() = segment : segments.emplace_back(segment);
  };
  for (size_t i = 0; i < bucket.parameters.size(); ++i) {
    const ParameterSpec& spec = catalogue.parameters[bucket.parameters[i]];
    const std::vector<int64_t> shape = local_part(spec, place).shape;
    const int64_t experts = is_divided(spec) ? shape[0] : 0;
    for (int64_t e = 0; e < experts; ++e) {
      add({.end = bucket.offsets[i] + (e + 1) * (c10::multiply_integers(shape) / experts), .expert = e});
    }
    add({.end = i + 1 < bucket.parameters.size() ? bucket.offsets[i + 1] : bucket.elements});
  }
  return segments;
}

}  // namespace

Division divide(const Bucket& bucket, const Catalogue& catalogue, const Place& place, int64_t begin,
                int64_t end) {
  Division division;
  for (const Segment& segment : segments_of(bucket, catalogue, place)) {
    const int64_t last = std::min(segment.end, end) - begin;
    while (division.cuts.back() < last) {
      division.cuts.push_back(std::min(division.cuts.back() + Arrays::kChunk, last));
      division.expert_of.push_back(segment.expert);
    }
  }
  return division;
}

}  // namespace chorus::inline state
