#include "chorus/memory/arrays.h"

#include <algorithm>
#include <span>
#include <utility>

#include <ATen/ops/zeros.h>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/memory/usage.h"

namespace chorus {

namespace {

constexpr int64_t kBeingWritten = 2 * Arrays::kChunk;  // elements of one Arrays, at most: their memory waits

std::span<const std::byte> bytes_of(const at::Tensor& memory) {
  return {static_cast<const std::byte*>(memory.const_data_ptr()), memory.nbytes()};
}

}  // namespace

Arrays::Arrays(Tier tier, int64_t count, Cuts cuts, at::ScalarType type, at::Device device, ScratchFile* file)
    : count_(count), cuts_(std::move(cuts)), type_(type) {
  const int64_t elements = cuts_.back();
  if (tier == Tier::nvme) {
    file_ = file;
    hashes_.resize(chunks());
    offsets_.reserve(chunks());
    uint64_t bytes = 0;
    for (int64_t chunk = 0; chunk < chunks(); ++chunk) {
      offsets_.push_back(bytes);
      bytes += count * bytes_in_blocks(size(chunk), type);
    }
    const uint64_t begin = file_->reserve(bytes);
    for (uint64_t& offset : offsets_) {
      offset += begin;
    }
  } else if (tier == Tier::host) {
    whole_ = allocate_on_host(count * elements, type).view({count, elements}).zero_();
  } else {
    whole_ = at::zeros({count, elements}, at::TensorOptions(type).device(device));
  }
}

Arrays::Arrays(const at::Tensor& flat, Cuts cuts)
    : count_(1), cuts_(std::move(cuts)), type_(flat.scalar_type()), whole_(flat.view({1, -1})) {}

Arrays::~Arrays() {
  for (const auto* requests : {&reading_, &writing_}) {
    for (const auto& [chunk, on_disk] : *requests) {
      try {
        file_->wait(on_disk.request);  // the kernel has its memory
      } catch (const Error&) {         // nobody will miss it
      }
    }
  }
}

/// Each of the arrays begins at a whole block.
at::Tensor Arrays::memory_of(int64_t chunk) const {
  return allocate_blocks_on_host(count_, size(chunk), type_);
}

void Arrays::wait_for_write(int64_t chunk) {
  const auto write = writing_.extract(chunk);
  if (write.empty()) return;
  being_written_ -= size(chunk);
  file_->wait(write.mapped().request);
}

void Arrays::prefetch(int64_t chunk) {
  if (!file_ || !hashes_[chunk] || reading_.contains(chunk)) return;
  wait_for_write(chunk);
  OnDisk& read = reading_[chunk];  // there before the kernel has its memory
  read.memory = memory_of(chunk);
  read.request = file_->read(offsets_[chunk], read.memory.mutable_data_ptr(), read.memory.nbytes());
}

at::Tensor Arrays::load(int64_t chunk) {
  if (!file_) return whole_.narrow(1, first(chunk), size(chunk));
  if (!hashes_[chunk]) return part_of(memory_of(chunk).zero_(), chunk);
  prefetch(chunk);
  const auto node = reading_.extract(chunk);
  const OnDisk& read = node.mapped();
  file_->wait(read.request);
  if (hash_bytes(bytes_of(read.memory)) != *hashes_[chunk]) {
    throw Error(
        "the scratch file has changed on disk, or the disk fails (memory.folder); the last checkpoint is "
        "whole");
  }
  return part_of(read.memory, chunk);
}

at::Tensor Arrays::blank(int64_t chunk) {
  return file_ ? part_of(memory_of(chunk), chunk) : whole_.narrow(1, first(chunk), size(chunk));
}

void Arrays::store(int64_t chunk, const at::Tensor& values) {
  if (!file_) return;
  wait_for_write(chunk);
  while (!writing_.empty() && being_written_ + size(chunk) > kBeingWritten)
    wait_for_write(writing_.begin()->first);
  // `values` are a view of all that memory_of() gave.
  OnDisk& write = writing_[chunk];
  being_written_ += size(chunk);
  write.memory = values.as_strided({count_, values.stride(0)}, {values.stride(0), 1}, 0);
  hashes_[chunk] = hash_bytes(bytes_of(write.memory));
  write.request = file_->write(offsets_[chunk], write.memory.const_data_ptr(), write.memory.nbytes());
}

void Arrays::finish() {
  while (!writing_.empty()) wait_for_write(writing_.begin()->first);
}

}  // namespace chorus
