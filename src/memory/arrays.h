// What is kept for each weight of a stretch (its moments, say), in one tier: flat arrays side by side, in
// chunks, so that what lies on disk passes through memory chunk by chunk.
#pragma once

#include <cstdint>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/stream.h"
#include "memory/config.h"
#include "memory/in_flight.h"
#include "memory/scratch_file.h"

namespace chorus::inline memory {

/// Copies between an accelerator and the host go on beside the host. What the host lacks for a chunk is waited for; but
/// where chunks stay on the host, it must wait for the calling thread's current stream before it reads one that was
/// stored from the device, or changes one that was loaded there.
class Arrays {
 public:
  static constexpr int64_t kChunk = kMostOfAChunk;  // elements of each array in a chunk, at most

  Arrays() = default;
  /// `cuts`: 0, where each chunk after the first begins, and how many elements there are.
  using Cuts = std::vector<int64_t>;
  /// `count` arrays of zeros. `file`, which must outlive them, is where those of Tier::nvme lie. `device` is where the
  /// model computes.
  Arrays(Tier tier, int64_t count, Cuts cuts, at::ScalarType type, at::Device device, ScratchFile* file);
  /// One array on the device, which is `flat` itself, not a copy.
  Arrays(const at::Tensor& flat, Cuts cuts);
  ~Arrays();
  Arrays(Arrays&&) noexcept = default;
  Arrays& operator=(Arrays&&) noexcept = default;

  [[nodiscard]] int64_t chunks() const { return std::ssize(cuts_) - 1; }
  [[nodiscard]] int64_t first(int64_t chunk) const { return cuts_[chunk]; }
  [[nodiscard]] int64_t size(int64_t chunk) const { return cuts_[chunk + 1] - cuts_[chunk]; }

  /// Returns all chunks side by side [count, elements], of arrays that lie on the device; undefined for others.
  [[nodiscard]] const at::Tensor& whole() const { return whole_; }
  /// Begins to read a chunk that will be asked for, where it has to be read.
  void prefetch(int64_t chunk);
  /// Begins to read a chunk that load(chunk, where) will ask for.
  void prefetch(int64_t chunk, at::Device where);
  /// Returns a chunk [count, size(chunk)]: a view where it lies in memory, else what was read. Error when the disk
  /// gives back other bytes than it was given.
  at::Tensor load(int64_t chunk);
  /// Returns it on `where`, the host or the device: a copy unless it lies there.
  at::Tensor load(int64_t chunk, at::Device where);
  /// Copies a chunk of the one array to `to`, on the device.
  void load_into(int64_t chunk, const at::Tensor& to);
  /// Returns memory [count, size(chunk)] for a chunk that is to be written as a whole: a view where it lies, else
  /// undefined contents.
  at::Tensor blank(int64_t chunk);
  /// Returns such memory on `where`, as load() does.
  at::Tensor blank(int64_t chunk, at::Device where);
  /// Takes back `values`, which load() or blank() returned and the caller has changed; copies on another device are
  /// copied back. For a chunk on disk this begins the write: they must not change any more.
  void store(int64_t chunk, const at::Tensor& values);
  /// Makes the chunk a copy of `values`.
  void assign(int64_t chunk, const at::Tensor& values);
  /// Waits until all is written.
  void finish();

 private:
  /// A chunk's memory on the host, from or to disk or an accelerator.
  struct Passing {
    at::Tensor memory;  // [count, whole blocks], of an accelerator's [count, elements]
    ScratchFile* file = nullptr;
    ScratchFile::Request request = 0;
    DeviceEvent copied;
    void wait() const {
      copied.wait();
      if (file) file->wait(request);
    }
  };
  /// Makes the chunks views of `whole` [count, elements].
  void lie_in(const at::Tensor& whole);
  [[nodiscard]] at::Tensor memory_of(int64_t chunk) const;
  void copy(const at::Tensor& to, const at::Tensor& from) const;
  [[nodiscard]] at::Tensor chunk_of(const at::Tensor& memory, int64_t chunk) const {
    return memory.narrow(1, 0, size(chunk));
  }

  int64_t count_ = 0;
  Cuts cuts_ = {0};
  at::ScalarType type_ = at::kFloat;
  at::Device device_ = at::kCPU;  // where the model computes
  at::Device here_ = at::kCPU;    // where chunks lie that are in memory
  at::Tensor whole_;
  std::vector<at::Tensor> in_memory_;  // each chunk; empty where they are on disk
  ScratchFile* file_ = nullptr;
  std::vector<uint64_t> offsets_;  // of each chunk in the file
  InFlight<Passing> in_flight_;
  std::vector<std::optional<uint64_t>> hashes_;  // of each chunk; none: nothing was written, it is zeros
};

/// Chunks that are worked on one after the other, and prefetched some time before: prefetch(chunk), of those of 3
/// kChunk elements at most.
template <class Chunk, class Prefetch>
class Prefetched {
 public:
  Prefetched(std::vector<Chunk> chunks, Prefetch prefetch)
      : chunks_(std::move(chunks)), prefetch_(std::move(prefetch)) {}

  /// Calls work(chunk) for the next chunks, until one is not `wanted`.
  template <class Wanted, class Work>
  void work_on(const Wanted& wanted, const Work& work) {
    constexpr int64_t kAhead = 3 * Arrays::kChunk;  // elements prefetched and not done yet, at most
    for (; done_ < chunks_.size() && wanted(chunks_[done_]); ++done_) {
      while (next_ < chunks_.size() && (next_ == done_ || ahead_ + chunks_[next_].size() <= kAhead)) {
        prefetch_(chunks_[next_]);
        ahead_ += chunks_[next_++].size();
      }
      work(chunks_[done_]);
      ahead_ -= chunks_[done_].size();
    }
  }

 private:
  std::vector<Chunk> chunks_;
  Prefetch prefetch_;
  size_t done_ = 0, next_ = 0;
  int64_t ahead_ = 0;
};

template <class Chunk, class Prefetch, class Work>
void for_prefetched(std::vector<Chunk> chunks, const Prefetch& prefetch, const Work& work) {
  Prefetched(std::move(chunks), prefetch).work_on([](const Chunk&) { return true; }, work);
}

}  // namespace chorus::inline memory
