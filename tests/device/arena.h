// Memory of the simulated device: two stretches of address space of one length. Tensors point into the front one, which
// is closed to the host, or opened and closed page by page; the device reaches the bytes through the one behind.
#pragma once

#include <atomic>
#include <cstddef>

namespace chorus::testing {

class Arena {
 public:
  static constexpr size_t kPage = 4096;

  /// `open`: the host may touch what is allocated, and finds the same bytes.
  explicit Arena(bool open);
  /// Whole pages, each byte 0xFF: NaN. No address is given out twice, so that what was freed stays closed; between two
  /// blocks is a page that is never open. std::bad_alloc where there is no memory.
  void* allocate(size_t bytes);
  void release(void* at, size_t bytes);
  [[nodiscard]] bool has(const void* at) const;
  /// Where the device finds the bytes of what a tensor points to.
  [[nodiscard]] void* behind(const void* at) const;
  /// What the host may do with a page: PROT_NONE, PROT_READ, or PROT_READ | PROT_WRITE.
  void protect(const void* page, int protection) const;

 private:
  bool open_;
  char *front_, *back_;
  std::atomic<size_t> next_ = 0;
};

Arena& device_arena();
/// Page-locked memory of the host.
Arena& pinned_arena();

}  // namespace chorus::testing
