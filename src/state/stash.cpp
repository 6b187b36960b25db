#include "state/stash.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/empty_strided.h>

#include "base/error.h"
#include "kernels/device.h"
#include "memory/usage.h"

namespace chorus::inline state {

TierStash::TierStash(Tier tier, const std::filesystem::path& folder)
    : file_(tier == Tier::nvme ? std::make_unique<ScratchFile>(folder) : nullptr) {}

TierStash::~TierStash() {
  items_[0] = std::move(taken_);
  for (auto& [ticket, item] : items_) {
    try {
      finish(item);  // until then the kernel or the device uses its memory
      item.arrived.wait();
    } catch (const std::exception&) {  // the contents are not needed any more
    }
  }
}

/// Waits until nobody else uses the item's memory, and it holds what was put there.
void TierStash::finish(Item& item) {
  item.copied.wait();
  if (item.request != 0) file_->wait(std::exchange(item.request, 0));
}

TierStash::Ticket TierStash::put(const at::Tensor& x) {
  // Laid out as it was: what computes with it again has the same steps, and so the same bits.
  const at::Tensor dense = x.is_non_overlapping_and_dense() ? x : x.contiguous();
  Item item = {.sizes = x.sizes().vec(),
               .strides = dense.strides().vec(),
               .options = x.options(),
               .memory = allocate_blocks_on_host(1, x.numel(), x.scalar_type(), x.device()).view(-1)};
  {
    const OnCopyStream copying(x.device());
    keep_for_current_stream(dense);
    item.memory.narrow(0, 0, x.numel()).copy_(dense.as_strided({x.numel()}, {1}), /*non_blocking=*/true);
    item.copied = DeviceEvent::record(x.device());
  }
  const Ticket ticket = ++last_;
  items_[ticket] = std::move(item);
  if (!file_ || x.numel() == 0) return ticket;
  // By the next one it is there.
  if (!writing_.empty()) {
    if (const auto before = items_.find(writing_.back()); before != items_.end()) write(before->second);
  }
  writing_.push_back(ticket);
  while (writing_.size() > kWritesInFlight) {
    const auto oldest = items_.find(writing_.front());
    writing_.pop_front();
    if (oldest == items_.end() || oldest->second.request == 0) continue;  // taken in the meantime
    finish(oldest->second);
    oldest->second.memory.reset();
  }
  return ticket;
}

/// Begins to write it.
void TierStash::write(Item& item) {
  item.copied.wait();
  const uint64_t bytes = item.memory.nbytes();
  if (end_ + bytes > file_->size()) file_->reserve(std::max<uint64_t>(kStep, bytes));
  item.offset = end_;
  end_ += bytes;
  item.hash = scratch_hash(item.memory);
  item.request = file_->write(item.offset, item.memory.const_data_ptr(), bytes);
}

void TierStash::prefetch(Ticket ticket) {
  Item& item = items_.at(ticket);
  if (!item.memory.defined()) {
    const at::Tensor memory =
        allocate_blocks_on_host(1, c10::multiply_integers(item.sizes),
                                c10::typeMetaToScalarType(item.options.dtype()), item.options.device())
            .view(-1);
    item.request = file_->read(item.offset, memory.mutable_data_ptr(), memory.nbytes());
    item.memory = memory;
    item.was_read = true;
  } else if (item.request == 0 && !item.arriving.defined() && !is_host(item.options.device())) {
    bring(item);
  }
}

/// Begins to copy it back.
void TierStash::bring(Item& item) {
  item.arriving = at::empty_strided(item.sizes, item.strides, item.options);
  const int64_t count = item.arriving.numel();
  const OnCopyStream copying(item.options.device());
  item.arriving.as_strided({count}, {1}).copy_(item.memory.narrow(0, 0, count), /*non_blocking=*/true);
  item.arrived = DeviceEvent::record(item.options.device());
}

at::Tensor TierStash::take(Ticket ticket) {
  prefetch(ticket);
  auto node = items_.extract(ticket);
  Item& item = node.mapped();
  finish(item);
  if (item.was_read) check_scratch(item.memory, item.hash);
  if (!item.arriving.defined()) bring(item);
  item.arrived.precede_current_stream();
  taken_.arrived.wait();
  taken_ = std::move(item);
  if (items_.empty()) {
    end_ = 0;
    writing_.clear();
  }
  return std::move(taken_.arriving);
}

}  // namespace chorus::inline state
