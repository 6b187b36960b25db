// Zip archives whose files are stored as they are, as torch.save writes them (zip64 too). The bytes may be
// anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace chorus::inline io {

struct ZipEntry {
  std::span<const std::byte> bytes;  // in the archive
  uint32_t crc = 0;                  // CRC-32; 0 where the writer has left it out
};
using ZipEntries = std::map<std::string, ZipEntry, std::less<>>;

/// The files of an archive. UserError naming `path` where an offset or length lies outside of it, and on what
/// is compressed or encrypted.
ZipEntries read_zip(std::span<const std::byte> archive, const std::string& path);

/// UserError when the bytes do not agree with their CRC-32.
void check_crc(const std::string& name, const ZipEntry& entry, const std::string& path);

}  // namespace chorus::inline io
