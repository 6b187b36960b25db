#include "state/internal/gradient_reducer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ops/empty_like.h>

#include "kernels/device.h"

namespace chorus::inline state {

void GradientReducer::reduce(Shard& shard, bool last) {
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
  // An accelerator's host has time for the norm.
  const bool adds_squares = last && shard.gradients == Tier::host && !is_host(shards_.device());
  const auto sum_and_leave = [this, &shard, all, adds, adds_squares] {
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
    if (!adds_squares) return;
    shard.squares.emplace();
    for (int64_t number = 0; number < shard.chunks(); ++number) {
      if (shard.in_update(number)) add_squares(*shard.squares, {shard, number});
    }
  };
  shard.summing.begin(shard.sharing, SideStream::copies, shards_.device(), sum_and_leave);
}

void GradientReducer::finish_all() {
  for (Shard& shard : shards_.all()) {
    if (!shard.summed) reduce(shard, true);
    shard.summing.finish();
  }
}

/// Adds the squares of this rank's own part of a chunk's gradient.
void GradientReducer::add_squares(SumOfSquares& sum, const Chunk& chunk) {
  Shard& shard = chunk.shard;
  add_squares(sum, shard, chunk.begin(), chunk.end(), shard.gradient.load(chunk.number)[0]);
}

/// Adds those of this rank's own part of elements [begin, end) of the bucket; `gradient` begins with element `begin`.
void GradientReducer::add_squares(SumOfSquares& sum, const Shard& shard, int64_t begin, int64_t end,
                                  const at::Tensor& gradient) {
  shards_.for_stretches(shard.bucket, std::max(begin, shard.own), std::min(end, shard.own_end),
                        [&](size_t i, int64_t, int64_t at, int64_t count) {
                          if (!shards_.is_frozen(shard, i) && !shards_.local(shard, i).double_of_another)
                            sum.add(gradient.narrow(0, at - begin, count));
                        });
}

double GradientReducer::sum_of_squares() {
  std::vector<Chunk> chunks;
  for (const Chunk& chunk : shards_.in_update()) {
    if (!chunk.shard.squares) chunks.push_back(chunk);
  }
  SumOfSquares all;
  for (const Shard& shard : shards_.all()) {
    if (shards_.is_whole(shard)) add_squares(all, shard, shard.begin, shard.end, shard.gradient.whole()[0]);
  }
  // What lies on the host is added up in one order, wherever the rest lies.
  std::vector<SumOfSquares> on_host;
  for (const Shard& shard : shards_.all()) on_host.push_back(shard.squares.value_or(SumOfSquares()));
  for_update(
      shards_.all(), std::move(chunks),
      [](const Chunk& chunk) { chunk.shard.gradient.prefetch(chunk.number); },
      [&](const Chunk& chunk) {
        const bool here = chunk.shard.gradients != Tier::device || is_host(shards_.device());
        add_squares(here ? on_host[&chunk.shard - shards_.all().data()] : all, chunk);
      });
  for (const SumOfSquares& sum : on_host) all.add(sum);
  return all.value();
}

}  // namespace chorus::inline state
