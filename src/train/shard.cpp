#include "train/shard.h"

#include <ATen/ops/empty.h>

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

Arrays::Cuts packed_cuts(const Arrays::Cuts& cuts, StateForm form, int64_t rows) {
  Arrays::Cuts packed = {0};
  packed.reserve(cuts.size());
  for (size_t i = 1; i < cuts.size(); ++i) {
    packed.push_back(packed.back() + packed_bytes(form, rows, cuts[i] - cuts[i - 1]));
  }
  return packed;
}

at::Tensor Optimizer::Shard::load_state(int64_t chunk) {
  const at::Tensor stored = state.load(chunk);
  if (form == StateForm::fp32) return stored;
  at::Tensor wide = at::empty({state_rows(), value.size(chunk)}, at::kFloat);
  unpack_state(form, stored[0], wide);
  return wide;
}

void Optimizer::Shard::store_state(int64_t chunk, const at::Tensor& wide, int64_t step) {
  if (form == StateForm::fp32) {
    state.store(chunk, wide);
    return;
  }
  const at::Tensor bytes = state.blank(chunk);
  pack_state(form, wide, step, bytes[0]);
  state.store(chunk, bytes);
}

void Optimizer::Shard::round_state(const at::Tensor& wide, int64_t step) const {
  if (form == StateForm::fp32) return;
  const at::Tensor bytes = at::empty({packed_bytes(form, state_rows(), wide.size(1))}, at::kByte);
  pack_state(form, wide, step, bytes);
  unpack_state(form, bytes, wide);
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
