#include "memory/arrays.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "kernels/device.h"
#include "memory/usage.h"

namespace chorus::inline memory {

Arrays::Arrays(Tier tier, int64_t count, Cuts cuts, at::ScalarType type, at::Device device, ScratchFile* file)
    : count_(count), cuts_(std::move(cuts)), type_(type), device_(device) {
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
    std::vector<int64_t> elements;
    for (int64_t chunk = 0; chunk < chunks(); ++chunk) elements.push_back(count * size(chunk));
    in_memory_ = allocate_on_host(elements, type, device);
    for (at::Tensor& chunk : in_memory_) chunk = chunk.view({count, -1}).zero_();
  } else {
    lie_in(at::zeros({count, cuts_.back()}, at::TensorOptions(type).device(device)));
  }
}

Arrays::Arrays(const at::Tensor& flat, Cuts cuts)
    : count_(1), cuts_(std::move(cuts)), type_(flat.scalar_type()), device_(flat.device()) {
  lie_in(flat.view({1, -1}));
}

void Arrays::lie_in(const at::Tensor& whole) {
  here_ = whole.device();
  whole_ = whole;
  for (int64_t chunk = 0; chunk < chunks(); ++chunk)
    in_memory_.push_back(whole.narrow(1, first(chunk), size(chunk)));
}

Arrays::~Arrays() {
  in_flight_.for_each([](const Passing& passing) {
    try {
      passing.wait();                  // until then the kernel or the device uses its memory
    } catch (const std::exception&) {  // the contents are not needed any more
    }
  });
}

/// Each of the arrays begins at a whole block.
at::Tensor Arrays::memory_of(int64_t chunk) const {
  return allocate_blocks_on_host(count_, size(chunk), type_, device_);
}

void Arrays::prefetch(int64_t chunk) {
  if (!file_ || !hashes_[chunk]) return;
  in_flight_.read(chunk, [&](Passing& read) {
    read.memory = memory_of(chunk);
    read.file = file_;
    read.request = file_->read(offsets_[chunk], read.memory.mutable_data_ptr(), read.memory.nbytes());
  });
}

at::Tensor Arrays::load(int64_t chunk) {
  if (!file_) return in_memory_[chunk];
  if (!hashes_[chunk]) return chunk_of(memory_of(chunk).zero_(), chunk);
  prefetch(chunk);
  const Passing read = in_flight_.take(chunk);
  check_scratch(read.memory, *hashes_[chunk]);
  return chunk_of(read.memory, chunk);
}

at::Tensor Arrays::load(int64_t chunk, at::Device where) {
  if (where == here_) return load(chunk);
  if (is_host(where)) {
    prefetch(chunk, where);
    return in_flight_.take(chunk).memory;
  }
  at::Tensor there = blank(chunk, where);
  copy(there, load(chunk));
  return there;
}

void Arrays::prefetch(int64_t chunk, at::Device where) {
  if (where == here_ || !is_host(where)) {
    prefetch(chunk);
    return;
  }
  in_flight_.read(chunk, [&](Passing& read) {
    read.memory = blank(chunk, where);
    const OnCopyStream copying(device_);
    read.memory.copy_(load(chunk), /*non_blocking=*/true);
    read.copied = DeviceEvent::record(device_);
  });
}

void Arrays::load_into(int64_t chunk, const at::Tensor& to) {
  copy(to, load(chunk)[0]);
}

void Arrays::copy(const at::Tensor& to, const at::Tensor& from) const {
  to.copy_(from, /*non_blocking=*/true);
  if (file_) DeviceEvent::record(device_).wait();  // on the host it is read at once, or goes
}

at::Tensor Arrays::blank(int64_t chunk) {
  return file_ ? chunk_of(memory_of(chunk), chunk) : in_memory_[chunk];
}

at::Tensor Arrays::blank(int64_t chunk, at::Device where) {
  if (where == here_) return blank(chunk);
  if (is_host(where)) return allocate_on_host(count_ * size(chunk), type_, device_).view({count_, -1});
  return at::empty({count_, size(chunk)}, at::TensorOptions(type_).device(where));
}

void Arrays::store(int64_t chunk, const at::Tensor& values) {
  if (values.device() != here_ && is_host(values)) {
    in_flight_.write(chunk, size(chunk), [&](Passing& write) {
      write.memory = values;
      in_memory_[chunk].copy_(values, /*non_blocking=*/true);
      write.copied = DeviceEvent::record(device_);
    });
    return;
  }
  if (values.device() != here_) {
    assign(chunk, values);
    return;
  }
  if (!file_) return;
  in_flight_.write(chunk, size(chunk), [&](Passing& write) {
    // `values` are a view of all that memory_of() gave.
    write.memory = values.as_strided({count_, values.stride(0)}, {values.stride(0), 1}, 0);
    write.file = file_;
    hashes_[chunk] = scratch_hash(write.memory);
    write.request = file_->write(offsets_[chunk], write.memory.const_data_ptr(), write.memory.nbytes());
  });
}

void Arrays::assign(int64_t chunk, const at::Tensor& values) {
  const at::Tensor own = blank(chunk);
  copy(own, values);
  store(chunk, own);
}

void Arrays::finish() {
  in_flight_.finish();
}

}  // namespace chorus::inline memory
