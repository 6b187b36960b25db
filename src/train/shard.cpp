#include "train/shard.h"

namespace chorus {

namespace {

/// Consecutive elements of a bucket.
struct Segment {
  int64_t end = 0;
  int64_t expert = -1;
};

/// All of a bucket's, without a gap.
std::vector<Segment> segments_of(const Bucket& bucket, const std::vector<Parameter>& parameters) {
  std::vector<Segment> segments;
  const auto add = [&](const Segment& segment) {
    const bool goes_on = !segments.empty() && segments.back().expert == segment.expert;
    goes_on ? segments.back() = segment : segments.emplace_back(segment);
  };
  for (size_t i = 0; i < bucket.parameters.size(); ++i) {
    const Parameter& parameter = parameters[bucket.parameters[i]];
    const int64_t experts = is_divided(bucket, parameter) ? parameter.value.size(0) : 0;
    for (int64_t e = 0; e < experts; ++e) {
      add({.end = bucket.offsets[i] + (e + 1) * (parameter.value.numel() / experts), .expert = e});
    }
    add({.end = i + 1 < bucket.parameters.size() ? bucket.offsets[i + 1] : bucket.elements});
  }
  return segments;
}

}  // namespace

Division divide(const Bucket& bucket, const std::vector<Parameter>& parameters, int64_t begin, int64_t end) {
  Division division;
  for (const Segment& segment : segments_of(bucket, parameters)) {
    const int64_t last = std::min(segment.end, end) - begin;
    while (division.cuts.back() < last) {
      division.cuts.push_back(std::min(division.cuts.back() + Arrays::kChunk, last));
      division.expert_of.push_back(segment.expert);
    }
  }
  return division;
}

std::vector<int64_t> Optimizer::Shard::with_gradient_here() const {
  std::vector<int64_t> here;
  here.reserve(chunks());
  for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
    if (takes_part(chunk, [](const Use& use) { return use.gradient_here; })) here.push_back(chunk);
  }
  return here;
}

std::vector<int64_t> Optimizer::Shard::await_values(bool backward) {
  std::vector<int64_t> awaited;
  if (!values_go) return awaited;
  const bool all = std::ranges::all_of(experts, &Use::needed);
  for (Use& use : experts) {
    use.value_here = backward ? use.needed : all;
    if (!backward) use.needed = false;
  }
  for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
    if (takes_part(chunk, [](const Use& use) { return use.value_here; })) awaited.push_back(chunk);
  }
  return awaited;
}

}  // namespace chorus
