// What keeps other people's files from harming the process.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace chorus::inline io {

/// Bytes of a file that read_file() takes when nothing else is said.
inline constexpr uint64_t kLargestRead = uint64_t{256} << 20;

/// read_file() for a file of at most `most` bytes: UserError, before it is read, when it is larger.
std::string read_file(const std::filesystem::path& path, uint64_t most);

/// The path of the file that a MappedFile holds at this address, as one line, or null: for a handler of
/// SIGBUS, which the kernel sends to a process that reads a page which the file no longer has. Safe in signal
/// handlers.
const char* mapped_file_at(const void* address);

}  // namespace chorus::inline io
