#include <atomic>
#include <mutex>
#include <utility>

#include <sys/mman.h>

#include "base/message.h"
#include "base/text.h"
#include "io/file_guard.h"
#include "io/files.h"

#include "io/internal/file_calls.h"

namespace chorus::inline io {
namespace fs = std::filesystem;
namespace {

/// What is mapped where. A signal handler goes through the list while others change it: entries are never
/// freed, only used again.
struct Mapping {
  std::atomic<const std::byte*> begin = nullptr;  // null: nothing, and the rest is another's to change
  size_t size = 0;
  std::string path;  // one line
  Mapping* next = nullptr;
};
std::atomic<Mapping*> mappings = nullptr;
std::mutex mappings_mutex;

void enlist(const std::byte* begin, size_t size, const fs::path& path) {
  const std::lock_guard lock(mappings_mutex);
  Mapping* entry = mappings.load();
  while (entry != nullptr && entry->begin.load() != nullptr) entry = entry->next;
  const bool is_new = entry == nullptr;
  if (is_new) entry = new Mapping{.next = mappings.load()};
  entry->size = size;
  entry->path = message_line(path.string());
  entry->begin.store(begin);
  if (is_new) mappings.store(entry);
}

void delist(const std::byte* begin) {
  const std::lock_guard lock(mappings_mutex);
  for (Mapping* m = mappings.load(); m != nullptr; m = m->next) {
    if (m->begin.load() == begin) return m->begin.store(nullptr);
  }
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) {
  const OpenFile file = open_regular_file(path);
  if (file.size == 0) return;
  void* data = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.fd.get(), 0);
  if (data == MAP_FAILED) fail_to_read(path, errno);
  data_ = static_cast<const std::byte*>(data);
  size_ = file.size;
  enlist(data_, size_, path);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  delist(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

const char* mapped_file_at(const void* address) {
  const auto* const at = static_cast<const std::byte*>(address);
  for (const Mapping* m = mappings.load(); m != nullptr; m = m->next) {
    const std::byte* const begin = m->begin.load();
    if (begin != nullptr && at >= begin && at < begin + m->size) return m->path.c_str();
  }
  return nullptr;
}

}  // namespace chorus::inline io
