#include "state/internal/gradient_reducer.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/empty_like.h>

namespace chorus::inline state {

void GradientReducer::reduce(Shard& shard) {
  const at::Tensor all = shard.bucket.gradients;
  shards_.allocate(all);  // does nothing unless the block took no part
  for (const size_t p : shard.bucket.parameters) {
    Parameter& parameter = shards_.parameters()[p];
    const bool by_slice = shard.by_use && is_divided(shards_.model().catalogue().parameters[p]);
    if (!parameter.has_gradient && !by_slice) parameter.gradient.zero_();
    parameter.has_gradient = true;
  }
  shard.summed = true;
  if (!shard.shared() && !shard.gradients_go) return;
  const bool adds = std::exchange(shard.started, true) && shard.shared();
  const auto sum_and_leave = [this, &shard, all, adds] {
    at::Tensor sum = all.narrow(0, shard.begin, shard.end - shard.begin);
    if (shard.in_parts()) {
      if (shard.gradients_go) sum = at::empty_like(sum);
      shard.sharing.reduce_scatter(sum, all);
    } else {
      shard.sharing.all_reduce(all);
    }
    if (!shard.gradients_go) return;
    for (const int64_t chunk : shard.with_gradient_here()) {
      const at::Tensor more =
          sum.narrow(0, shard.gradient.first(chunk), shard.gradient.size(chunk)).unsqueeze(0);
      if (adds) {
        shard.gradient.store(chunk, shard.gradient.load(chunk, shards_.device()).add_(more));
      } else {
        shard.gradient.assign(chunk, more);
      }
    }
    DeviceEvent::record(shards_.device()).wait();  // until then it is being copied
    shards_.free(all);
  };
  shard.summing.begin(shard.sharing, SideStream::copies, shards_.device(), sum_and_leave);
}

void GradientReducer::finish_all() {
  for (Shard& shard : shards_.all()) {
    if (!shard.summed) reduce(shard);
    shard.summing.finish();
  }
}

double GradientReducer::sum_of_squares() {
  SumOfSquares sum;
  for_update(
      shards_.all(), shards_.in_update(),
      [](const Chunk& chunk) { chunk.shard.gradient.prefetch(chunk.number); },
      [&](const Chunk& chunk) {
        const Shard& shard = chunk.shard;
        const at::Tensor gradient = chunk.shard.gradient.load(chunk.number)[0];
        shards_.for_stretches(
            shard.bucket, std::max(chunk.begin(), shard.own), std::min(chunk.end(), shard.own_end),
            [&](size_t i, int64_t, int64_t at, int64_t count) {
              if (!shards_.is_frozen(shard, i) && !shards_.local(shard, i).double_of_another)
                sum.add(gradient.narrow(0, at - chunk.begin(), count));
            });
      });
  return sum.value();
}

}  // namespace chorus::inline state
