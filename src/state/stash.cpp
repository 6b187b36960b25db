#include "state/stash.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/empty_strided.h>

#include "base/error.h"
#include "memory/usage.h"

namespace chorus::inline state {

TierStash::TierStash(Tier tier, const std::filesystem::path& folder)
    : file_(tier == Tier::nvme ? std::make_unique<ScratchFile>(folder) : nullptr) {}

TierStash::~TierStash() {
  for (auto& [ticket, item] : items_) {
    try {
      finish(item);           // until then the kernel uses its memory
    } catch (const Error&) {  // the contents are not needed any more
    }
  }
}

void TierStash::finish(Item& item) {
  if (item.request != 0) file_->wait(std::exchange(item.request, 0));
}

TierStash::Ticket TierStash::put(const at::Tensor& x) {
  // Laid out as it was: what computes with it again has the same steps, and so the same bits.
  const bool dense = x.is_non_overlapping_and_dense();
  Item item = {.sizes = x.sizes().vec(),
               .strides = (dense ? x : x.contiguous()).strides().vec(),
               .options = x.options(),
               .memory = allocate_blocks_on_host(1, x.numel(), x.scalar_type(), x.device())};
  item.memory.as_strided(item.sizes, item.strides, 0).copy_(x);
  const Ticket ticket = ++last_;
  Item& kept = items_[ticket] = std::move(item);
  if (file_ && x.numel() > 0) {
    const uint64_t bytes = kept.memory.nbytes();
    if (end_ + bytes > file_->size()) file_->reserve(std::max<uint64_t>(kStep, bytes));
    kept.offset = end_;
    end_ += bytes;
    writing_.push_back(ticket);
    kept.request = file_->write(kept.offset, kept.memory.const_data_ptr(), bytes);
  }
  while (writing_.size() > kWritesInFlight) {
    const auto oldest = items_.find(writing_.front());
    writing_.pop_front();
    if (oldest == items_.end() || oldest->second.request == 0) continue;  // taken in the meantime
    finish(oldest->second);
    oldest->second.memory.reset();
  }
  return ticket;
}

void TierStash::prefetch(Ticket ticket) {
  Item& item = items_.at(ticket);
  if (item.memory.defined()) return;
  const at::Tensor memory =
      allocate_blocks_on_host(1, c10::multiply_integers(item.sizes),
                              c10::typeMetaToScalarType(item.options.dtype()), item.options.device());
  item.request = file_->read(item.offset, memory.mutable_data_ptr(), memory.nbytes());
  item.memory = memory;
}

at::Tensor TierStash::take(Ticket ticket) {
  prefetch(ticket);
  const auto node = items_.extract(ticket);
  Item& item = node.mapped();
  finish(item);
  at::Tensor x = at::empty_strided(item.sizes, item.strides, item.options);
  x.copy_(item.memory.as_strided(item.sizes, item.strides, 0));
  if (items_.empty()) {
    end_ = 0;
    writing_.clear();
  }
  return x;
}

}  // namespace chorus::inline state
