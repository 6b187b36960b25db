#include "memory/arrays.h"

#include <algorithm>
#include <span>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "io/files.h"
#include "memory/usage.h"

namespace chorus::inline memory {

namespace {

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
  in_flight_.for_each([](const OnDisk& on_disk) {
    try {
      on_disk.wait();         // until then the kernel uses its memory
    } catch (const Error&) {  // the contents are not needed any more
    }
  });
}

/// Each of the arrays begins at a whole block.
at::Tensor Arrays::memory_of(int64_t chunk) const {
  return allocate_blocks_on_host(count_, size(chunk), type_);
}

void Arrays::prefetch(int64_t chunk) {
  if (!file_ || !hashes_[chunk]) return;
  in_flight_.read(chunk, [&](OnDisk& read) {
    read.memory = memory_of(chunk);
    read.file = file_;
    read.request = file_->read(offsets_[chunk], read.memory.mutable_data_ptr(), read.memory.nbytes());
  });
}

at::Tensor Arrays::load(int64_t chunk) {
  if (!file_) return whole_.narrow(1, first(chunk), size(chunk));
  if (!hashes_[chunk]) return chunk_of(memory_of(chunk).zero_(), chunk);
  prefetch(chunk);
  const OnDisk read = in_flight_.take(chunk);
  if (hash_bytes(bytes_of(read.memory)) != *hashes_[chunk]) {
    throw Error(
        "the scratch file has changed on disk, or the disk fails (memory.folder); the last checkpoint is "
        "whole");
  }
  return chunk_of(read.memory, chunk);
}

at::Tensor Arrays::load(int64_t chunk, at::Device where) {
  return load(chunk).to(where);
}

at::Tensor Arrays::blank(int64_t chunk) {
  return file_ ? chunk_of(memory_of(chunk), chunk) : whole_.narrow(1, first(chunk), size(chunk));
}

at::Tensor Arrays::blank(int64_t chunk, at::Device where) {
  if (where == here()) return blank(chunk);
  return at::empty({count_, size(chunk)}, at::TensorOptions(type_).device(where));
}

void Arrays::store(int64_t chunk, const at::Tensor& values) {
  if (values.device() != here()) {
    store(chunk, blank(chunk).copy_(values));
    return;
  }
  if (!file_) return;
  in_flight_.write(chunk, size(chunk), [&](OnDisk& write) {
    // `values` are a view of all that memory_of() gave.
    write.memory = values.as_strided({count_, values.stride(0)}, {values.stride(0), 1}, 0);
    write.file = file_;
    hashes_[chunk] = hash_bytes(bytes_of(write.memory));
    write.request = file_->write(offsets_[chunk], write.memory.const_data_ptr(), write.memory.nbytes());
  });
}

void Arrays::finish() {
  in_flight_.finish();
}

}  // namespace chorus::inline memory
