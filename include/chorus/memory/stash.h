// Activations that wait off the device for their backward pass.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/base/scratch_file.h"
#include "chorus/memory/config.h"

namespace chorus {

class Stash {
 public:
  /// On the host, or on disk in a scratch file of its own in `folder`. UserError as ScratchFile.
  Stash(Tier tier, const std::filesystem::path& folder);
  ~Stash();
  Stash(const Stash&) = delete;
  Stash& operator=(const Stash&) = delete;

  using Ticket = int64_t;
  /// Keeps a copy. On disk it is written while others compute. UserError where the disk has no room left.
  Ticket put(const at::Tensor& x);
  /// It will be taken soon.
  void prefetch(Ticket ticket);
  /// The copy, on the device again, and forgets it.
  at::Tensor take(Ticket ticket);

  [[nodiscard]] uint64_t bytes_on_disk() const { return file_ ? file_->size() : 0; }

 private:
  struct Item {
    std::vector<int64_t> sizes, strides;
    at::TensorOptions options;
    at::Tensor memory;  // flat, on the host; undefined while it is on disk alone
    uint64_t offset = 0;
    ScratchFile::Request request = 0;  // that reads or writes `memory`; 0: none
  };
  void finish(Item& item);

  std::unique_ptr<ScratchFile> file_;
  std::map<Ticket, Item> items_;
  std::deque<Ticket> writing_;  // whose memory is freed as soon as it is written
  Ticket last_ = 0;
  uint64_t end_ = 0;  // of what is used of the file, which is empty again after every backward pass
};

}  // namespace chorus
