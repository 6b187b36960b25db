#include "device/arena.h"

#include <cstring>
#include <new>

#include <sys/mman.h>
#include <unistd.h>

namespace chorus::testing {

namespace {

constexpr size_t kLength = size_t{1} << 38;

size_t whole_pages(size_t bytes) {
  return (bytes + Arena::kPage - 1) / Arena::kPage * Arena::kPage;
}

/// Of a file, or of pages of its own.
char* view_of(int file) {
  const int kind = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void* const at = ::mmap(nullptr, kLength, PROT_NONE, kind | MAP_NORESERVE, file, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  return static_cast<char*>(at);
}

}  // namespace

Arena::Arena(bool open) : open_(open) {
  if (!open) {
    front_ = view_of(-1);
    back_ = view_of(-1);
    return;
  }
  const int file = ::memfd_create("page-locked", MFD_CLOEXEC);
  if (file < 0 || ::ftruncate(file, kLength) != 0) throw std::bad_alloc();
  front_ = view_of(file);
  back_ = view_of(file);
  ::close(file);
}

void* Arena::allocate(size_t bytes) {
  const size_t room = whole_pages(bytes), at = next_.fetch_add(room + kPage);
  if (room == 0) return front_ + at;
  constexpr int kOpen = PROT_READ | PROT_WRITE;
  if (at + room > kLength || ::mprotect(back_ + at, room, kOpen) != 0 ||
      (open_ && ::mprotect(front_ + at, room, kOpen) != 0))
    throw std::bad_alloc();
  std::memset(back_ + at, 0xFF, room);
  return front_ + at;
}

void Arena::release(void* at, size_t bytes) {
  const size_t room = whole_pages(bytes);
  if (room == 0) return;
  ::madvise(behind(at), room, open_ ? MADV_REMOVE : MADV_DONTNEED);
  ::mprotect(behind(at), room, PROT_NONE);
  if (open_) ::mprotect(at, room, PROT_NONE);
}

bool Arena::has(const void* at) const {
  return at >= front_ && at < front_ + kLength;
}

void* Arena::behind(const void* at) const {
  return back_ + (static_cast<const char*>(at) - front_);
}

void Arena::protect(const void* page, int protection) const {
  ::mprotect(const_cast<void*>(page), kPage, protection);
}

Arena& device_arena() {
  static Arena& one = *new Arena(false);  // tensors may outlive it
  return one;
}

Arena& pinned_arena() {
  static Arena& one = *new Arena(true);
  return one;
}

}  // namespace chorus::testing
