#include "moe/exchange.h"

#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

namespace chorus {

namespace {

/// [N, k] the rank of each choice, -1 where the token goes there for an earlier choice already, or nowhere.
at::Tensor ranks_of(const at::Tensor& kept, int64_t experts_each) {
  at::Tensor ranks = at::empty(kept.sizes(), at::kLong);
  const int64_t k = kept.size(1);
  const auto* expert = kept.const_data_ptr<int64_t>();
  auto* rank = ranks.mutable_data_ptr<int64_t>();
  for (int64_t choice = 0; choice < kept.numel(); ++choice) {
    const int64_t target = expert[choice] < 0 ? -1 : expert[choice] / experts_each;
    const auto* const first = rank + choice / k * k;
    rank[choice] =
        std::find(first, static_cast<const int64_t*>(rank) + choice, target) == rank + choice ? target : -1;
  }
  return ranks;
}

}  // namespace

Exchange::Exchange(Group& group, const at::Tensor& kept, int64_t experts, RandomKey key)
    : group_(group), experts_(experts / group.size()) {
  order_ = sort_by_expert(ranks_of(kept, experts_), group.size(), at::kCPU);
  // Who sends how many rows, and under which key.
  const at::Tensor own = at::empty({group.size(), 2}, at::kLong),
                   all = at::empty({group.size(), 2}, at::kLong);
  for (int64_t r = 0; r < group.size(); ++r) {
    own.mutable_data_ptr<int64_t>()[2 * r] = order_.counts[r];
    own.mutable_data_ptr<int64_t>()[2 * r + 1] = static_cast<int64_t>(key.value());
  }
  const std::vector<int64_t> ones(group.size(), 1);
  group.all_to_all(all, ones, own, ones);
  for (int64_t r = 0; r < group.size(); ++r) {
    const auto* const pair = all.const_data_ptr<int64_t>() + 2 * r;
    receive_.push_back(pair[0]);
    sources_.push_back({.rows = pair[0], .key = RandomKey(static_cast<uint64_t>(pair[1]))});
  }
  // The choices of each row that its rank holds, as that rank numbers them.
  const at::Tensor sent = gather_rows(kept, order_.token);
  at::Tensor first = at::empty({sent.size(0), 1}, at::kLong);
  for (int64_t r = 0; r < group.size(); ++r) {
    first.narrow(0, order_.offsets[r], order_.counts[r]).fill_(r * experts_);
  }
  const at::Tensor local = sent - first;
  here_ = local.ge(0).logical_and_(local.lt(experts_)).logical_and_(sent.ge(0));
  kept_ = exchanged(at::where(here_, local, at::full_like(local, -1)), false);
}

at::Tensor Exchange::exchanged(const at::Tensor& rows, bool back) const {
  const std::vector<int64_t>& send = back ? receive_ : order_.counts;
  const std::vector<int64_t>& receive = back ? order_.counts : receive_;
  at::Tensor out =
      at::empty({std::accumulate(receive.begin(), receive.end(), int64_t{0}), rows.size(1)}, rows.options());
  group_.all_to_all(out, receive, rows.contiguous(), send);
  return out;
}

at::Tensor Exchange::send_rows(const at::Tensor& rows) const {
  return exchanged(gather_rows(rows, order_.token), false);
}

at::Tensor Exchange::return_rows(const at::Tensor& rows) const {
  return sum_rows(exchanged(rows, true), order_.slot);
}

at::Tensor Exchange::send_choices(const at::Tensor& values) const {
  return exchanged(gather_rows(values, order_.token) * here_, false);
}

at::Tensor Exchange::return_choices(const at::Tensor& values) const {
  // Each choice was sent with one row: adding the rows puts every value in its place.
  return sum_rows(exchanged(values, true) * here_, order_.slot);
}

}  // namespace chorus
