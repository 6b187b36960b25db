#include "io/internal/zip.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <type_traits>

#include <zlib.h>

#include "base/error.h"
#include "io/json.h"

namespace chorus::inline io {
namespace {

constexpr uint32_t kEnd = 0x06054b50, kEnd64 = 0x06064b50, kEnd64Locator = 0x07064b50, kEntry = 0x02014b50,
                   kLocal = 0x04034b50;
constexpr size_t kEndBytes = 22, kEnd64Bytes = 56, kLocatorBytes = 20, kEntryBytes = 46, kLocalBytes = 30;
constexpr uint16_t kZip64Field = 1, kEncrypted = 1;

class Archive {
 public:
  Archive(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  [[nodiscard]] ZipEntries entries() const {
    const size_t end = find_end();
    uint64_t count = at<uint16_t>(end + 10), size = at<uint32_t>(end + 12), begin = at<uint32_t>(end + 16);
    if (end >= kLocatorBytes && at<uint32_t>(end - kLocatorBytes) == kEnd64Locator) {
      const size_t end64 = checked(at<uint64_t>(end - kLocatorBytes + 8), kEnd64Bytes);
      if (at<uint32_t>(end64) != kEnd64) throw fail("the end of its directory is not where it should be");
      count = at<uint64_t>(end64 + 32);
      size = at<uint64_t>(end64 + 40);
      begin = at<uint64_t>(end64 + 48);
    }
    size_t next = checked(begin, size);
    const size_t directory_end = next + size;
    ZipEntries entries;
    uint64_t total = 0;
    for (uint64_t i = 0; i < count; ++i) {
      if (directory_end - next < kEntryBytes || at<uint32_t>(next) != kEntry)
        throw fail("an entry of its directory is damaged");
      const size_t name = at<uint16_t>(next + 28), extra = at<uint16_t>(next + 30);
      const size_t whole = kEntryBytes + name + extra + at<uint16_t>(next + 32);
      if (directory_end - next < whole) throw fail("an entry of its directory is cut short");
      total += add(next, name, extra, entries);
      if (total > bytes_.size()) throw fail("its files overlap");
      next += whole;
    }
    return entries;
  }

 private:
  [[nodiscard]] UserError fail(const std::string& what) const {
    return UserError("{}: damaged, or not a zip archive: {}", path_, what);
  }
  /// `begin`, when so many bytes from there on lie inside.
  [[nodiscard]] size_t checked(uint64_t begin, uint64_t size) const {
    if (begin > bytes_.size() || size > bytes_.size() - begin) throw fail("it is cut short");
    return begin;
  }
  template <class Int>
  [[nodiscard]] Int at(size_t begin) const {
    Int value;
    std::memcpy(&value, bytes_.data() + checked(begin, sizeof value), sizeof value);
    return value;
  }

  [[nodiscard]] size_t find_end() const {
    constexpr size_t kLongestComment = 0xFFFF;
    for (size_t back = kEndBytes; back <= std::min(bytes_.size(), kEndBytes + kLongestComment); ++back)
      if (at<uint32_t>(bytes_.size() - back) == kEnd) return bytes_.size() - back;
    throw fail("it has no directory; is it cut short?");
  }

  /// Its size.
  uint64_t add(size_t entry, size_t name_size, size_t extra_size, ZipEntries& entries) const {
    const std::string name(reinterpret_cast<const char*>(bytes_.data()) + entry + kEntryBytes, name_size);
    uint64_t packed = at<uint32_t>(entry + 20), size = at<uint32_t>(entry + 24),
             local = at<uint32_t>(entry + 42);
    size_t field = entry + kEntryBytes + name_size;
    const size_t fields_end = field + extra_size;
    while (fields_end - field >= 4) {
      const auto id = at<uint16_t>(field), bytes = at<uint16_t>(field + 2);
      field += 4;
      if (fields_end - field < bytes) throw fail("an entry of its directory is damaged");
      size_t number = field;
      for (uint64_t* value : {&size, &packed, &local}) {
        if (id != kZip64Field || *value != 0xFFFFFFFF) continue;
        if (field + bytes - number < sizeof *value) throw fail("an entry of its directory is damaged");
        *value = at<uint64_t>(number);
        number += sizeof *value;
      }
      field += bytes;
    }
    if ((at<uint16_t>(entry + 8) & kEncrypted) != 0 || at<uint16_t>(entry + 10) != 0 || size != packed)
      throw UserError("{}: {} is compressed or encrypted, which torch.save does not do", path_,
                      in_quotes(name));
    const size_t at_local = checked(local, kLocalBytes);
    if (at<uint32_t>(at_local) != kLocal)
      throw fail(fmt::format("{} is not where it should be", in_quotes(name)));
    const size_t begin =
        checked(at_local + kLocalBytes + at<uint16_t>(at_local + 26) + at<uint16_t>(at_local + 28), size);
    if (!entries.emplace(name, ZipEntry{bytes_.subspan(begin, size), at<uint32_t>(entry + 16)}).second)
      throw fail(fmt::format("{} is there twice", in_quotes(name)));
    return size;
  }

  std::span<const std::byte> bytes_;
  const std::string& path_;
};

}  // namespace

ZipEntries read_zip(std::span<const std::byte> archive, const std::string& path) {
  return Archive(archive, path).entries();
}

void check_crc(const std::string& name, const ZipEntry& entry, const std::string& path) {
  const auto* data = reinterpret_cast<const Bytef*>(entry.bytes.data());
  if (entry.crc != 0 && crc32_z(0, data, entry.bytes.size()) != entry.crc)
    throw UserError("{}: damaged: {} does not agree with its checksum; restore the file from a copy", path,
                    in_quotes(name));
}

}  // namespace chorus::inline io
