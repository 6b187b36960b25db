#include "state/internal/shard.h"

#include <ATen/ops/empty.h>

namespace chorus::inline state {

at::Tensor Shard::load_state(int64_t chunk) {
  at::Tensor stored = moments.load(chunk, home);
  if (form == StateForm::fp32) return stored;
  at::Tensor wide = at::empty({state_rows(), value.size(chunk)}, at::kFloat);
  unpack_state(form, stored[0], wide);
  return wide;
}

void Shard::store_state(int64_t chunk, const at::Tensor& wide, int64_t step) {
  if (form == StateForm::fp32) {
    moments.store(chunk, wide);
    return;
  }
  const at::Tensor bytes = moments.blank(chunk, home);
  pack_state(form, wide, step, bytes[0]);
  moments.store(chunk, bytes);
}

void Shard::round_state(const at::Tensor& wide, int64_t step) const {
  if (form == StateForm::fp32) return;
  const at::Tensor bytes = at::empty({packed_bytes(form, state_rows(), wide.size(1))}, at::kByte);
  pack_state(form, wide, step, bytes);
  unpack_state(form, bytes, wide);
}

std::vector<int64_t> Shard::with_gradient_here() const {
  std::vector<int64_t> here;
  here.reserve(chunks());
  for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
    if (takes_part(chunk, [](const Use& use) { return use.gradient_here; })) here.push_back(chunk);
  }
  return here;
}

std::vector<int64_t> Shard::await_values(bool backward) {
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

}  // namespace chorus::inline state
