// Activations that wait off the device for their backward pass.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/stream.h"
#include "memory/config.h"
#include "memory/scratch_file.h"
#include "model/executor.h"

namespace chorus::inline state {

/// A stash on the host, or on disk in a scratch file of its own. An accelerator's activations come and go on its stream
/// for copies.
class TierStash final : public Stash {
 public:
  static constexpr size_t kWritesInFlight = 4;         // at most: until they are done their memory is held
  static constexpr int64_t kStep = int64_t{64} << 20;  // bytes by which the file grows, at least

  /// Makes a stash; on disk, in `folder`. UserError as ScratchFile.
  TierStash(Tier tier, const std::filesystem::path& folder);
  ~TierStash() override;
  TierStash(const TierStash&) = delete;
  TierStash& operator=(const TierStash&) = delete;

  /// Keeps a copy of x; on disk it is written while others compute. UserError where the disk has no room left.
  Ticket put(const at::Tensor& x) override;
  void prefetch(Ticket ticket) override;
  at::Tensor take(Ticket ticket) override;

  [[nodiscard]] uint64_t bytes_on_disk() const { return file_ ? file_->size() : 0; }

 private:
  struct Item {
    std::vector<int64_t> sizes, strides;
    at::TensorOptions options;
    at::Tensor memory;    // flat, on the host; undefined while it is on disk alone
    DeviceEvent copied;   // from the device
    at::Tensor arriving;  // on the device: what is being copied back
    DeviceEvent arrived;
    uint64_t offset = 0;
    ScratchFile::Request request = 0;  // that reads or writes `memory`; 0: none
    uint64_t hash = 0;                 // of what was written
    bool was_read = false;             // `memory` is what came back from the file
  };
  void finish(Item& item);
  void write(Item& item);
  void bring(Item& item);

  std::unique_ptr<ScratchFile> file_;
  std::map<Ticket, Item> items_;
  std::deque<Ticket> writing_;  // the oldest first: whose memory is freed as soon as it is written
  Item taken_;                  // the last: what was copied to the device may not be there yet
  Ticket last_ = 0;
  uint64_t end_ = 0;  // end of the used part of the file, which is empty again after every backward pass
};

}  // namespace chorus::inline state
