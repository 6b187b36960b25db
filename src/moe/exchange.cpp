#include "moe/exchange.h"

#include <algorithm>
#include <numeric>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "kernels/device.h"

namespace chorus::inline moe {

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

Exchange::Exchange(Parallel& parallel, const at::Tensor& kept, int64_t experts, at::Device device)
    : parallel_(&parallel),
      tokens_(kept.size(0)),
      experts_here_(experts / parallel.ep.size()),
      own_(part_of(tokens_, parallel.tp.rank(), parallel.tp.size())),
      own_kept_(send_to(device, own(kept))) {
  const int64_t parts = parallel.ep.size();
  const ExpertOrder order = sort_by_expert(ranks_of(own(kept), experts_here_), parts, own_kept_.numel());
  sent_token_ = send_to(device, order.token);
  slot_ = send_to(device, order.slot);
  sent_ = rows_of_experts(order);
  // Who sends how many rows to each rank of ep; last, how many tokens it has.
  const at::Tensor own_counts = at::empty({parts + 1}, at::kLong);
  std::ranges::copy(sent_.counts, own_counts.mutable_data_ptr<int64_t>());
  own_counts[parts] = own_.count;
  const at::Tensor counts = at::empty({parts, parts + 1}, at::kLong);
  parallel_->ep.all_gather(counts, own_counts);
  // The same of the ranks of etp: what comes to each part through each of them.
  const at::Tensor through = at::empty({parallel.etp.size(), parts + 1}, at::kLong);
  parallel_->etp.all_gather(through, counts.sum(0));
  const auto column = [&](const at::Tensor& table) {
    const at::Tensor own_column = table.select(1, parallel_->ep.rank()).contiguous();
    const auto* const data = own_column.const_data_ptr<int64_t>();
    return std::vector<int64_t>(data, data + own_column.numel());
  };
  received_ = column(counts);
  const int own_rank = parallel_->ep.rank();
  left_ = {sent_.offsets[own_rank], sent_.counts[own_rank]};
  left_at_ = std::accumulate(received_.begin(), received_.begin() + own_rank, int64_t{0});
  gathered_ = column(through);
  rows_ = std::accumulate(gathered_.begin(), gathered_.end(), int64_t{0});
  const at::Tensor totals = through.sum(0);
  most_rows_ = totals.narrow(0, 0, parts).max().item<int64_t>();
  all_tokens_ = totals[parts].item<int64_t>();
}

int64_t Exchange::chunks(int64_t crowd) const {
  const int64_t parts = parallel_->ep.size();
  const int64_t bearable = (crowd * all_tokens_ * own_kept_.size(1) + parts - 1) / parts;
  // Even if all tokens of a chunk go to one rank.
  const int64_t own = most_rows_ <= bearable ? 1 : (all_tokens_ + bearable - 1) / bearable;
  return parallel_->lockstep.max(own);
}

at::Tensor Exchange::kept() const {
  const at::Tensor arrived = forth(own_kept_) - parallel_->ep.rank() * experts_here_;
  const at::Tensor here = arrived.ge(0).logical_and_(arrived.lt(experts_here_));
  return at::where(here, arrived, at::full_like(arrived, -1));
}

/// Sends the rows of this rank's tokens to the ranks that compute them.
at::Tensor Exchange::forth(const at::Tensor& own_rows) const {
  at::Tensor received =
      at::empty({std::accumulate(received_.begin(), received_.end(), int64_t{0}), own_rows.size(1)},
                own_rows.options());
  const at::Tensor sent = at::empty({sent_token_.size(0), own_rows.size(1)}, own_rows.options());
  const auto gather = [&](int64_t first, int64_t count, const at::Tensor& out) {
    gather_rows(own_rows, sent_token_.narrow(0, first, count), out);
  };
  const int64_t after = left_.first + left_.count, rest = sent.size(0) - after;
  gather(0, left_.first, sent.narrow(0, 0, left_.first));
  gather(left_.first, left_.count, received.narrow(0, left_at_, left_.count));
  gather(after, rest, sent.narrow(0, after, rest));
  parallel_->ep.all_to_all(received, received_, sent, sent_.counts);
  if (parallel_->etp.size() == 1) return received;
  at::Tensor gathered = at::empty({rows_, own_rows.size(1)}, own_rows.options());
  parallel_->etp.all_gather(gathered, received, gathered_);
  return gathered;
}

/// Returns the sums of what comes back for each of this rank's tokens.
at::Tensor Exchange::back(const at::Tensor& rows) const {
  at::Tensor received = rows.contiguous();
  if (parallel_->etp.size() > 1) {
    received = at::empty({gathered_[parallel_->etp.rank()], rows.size(1)}, rows.options());
    parallel_->etp.reduce_scatter(received, rows.contiguous(), gathered_);
  }
  const at::Tensor returned = at::empty({sent_token_.size(0), rows.size(1)}, rows.options());
  parallel_->ep.all_to_all(returned, sent_.counts, received, received_);
  return sum_rows(returned, slot_, {received.narrow(0, left_at_, left_.count), left_.first});
}

/// Gathers the sums of all tokens [N, d] from those that each rank of tp has.
at::Tensor Exchange::shared(const at::Tensor& own_rows) const {
  if (parallel_->tp.size() == 1) return own_rows;
  std::vector<int64_t> counts(parallel_->tp.size());
  for (int r = 0; r < parallel_->tp.size(); ++r) {
    counts[r] = part_of(tokens_, r, parallel_->tp.size()).count;
  }
  at::Tensor all = at::empty({tokens_, own_rows.size(1)}, own_rows.options());
  parallel_->tp.all_gather(all, own_rows.contiguous(), counts);
  return all;
}

at::Tensor Exchange::send_rows(const at::Tensor& rows) const {
  return forth(own(rows));
}

at::Tensor Exchange::return_rows(const at::Tensor& rows) const {
  return shared(back(rows));
}

}  // namespace chorus::inline moe
