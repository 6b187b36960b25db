#include "memory/scratch_file.h"

#include <cerrno>
#include <cstddef>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "base/again.h"
#include "base/error.h"
#include "base/text.h"
#include "io/files.h"
#include "memory/disk_calls.h"

namespace chorus::inline memory {
namespace fs = std::filesystem;
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

}  // namespace

ScratchFile::ScratchFile(const fs::path& folder, Engine engine) : folder_(folder) {
  std::error_code ignored;  // open() reports it better
  fs::create_directories(folder, ignored);
  fd_ = again([&] { return disk_calls().open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600); });
  if (fd_ < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {  // a file system without nameless files
    std::string name = (folder / ".scratch-XXXXXX").string();
    fd_ = again([&] { return ::mkostemp(name.data(), O_CLOEXEC); });
    if (fd_ >= 0) ::unlink(name.c_str());
  }
  if (fd_ < 0) {
    throw UserError("cannot make a scratch file in {}: {}; memory.folder takes another folder",
                    folder.string(), reason(errno));
  }
  file_ = std::make_unique<BlockFile>(
      fd_, BlockFile::Words{"the scratch file in " + folder.string(), "the last checkpoint is whole"},
      engine);
}

uint64_t ScratchFile::reserve(uint64_t bytes) {
  const uint64_t begin = size_, whole = (bytes + kBlock - 1) / kBlock * kBlock;
  if (whole == 0) return begin;
  int error = EINTR;
  while (error == EINTR)
    error = disk_calls().allocate(fd_, static_cast<off_t>(begin), static_cast<off_t>(whole));
  if (error != 0) {
    throw UserError("cannot set {} aside in {}: {}; free some space, or set memory.folder to another disk",
                    human_bytes(begin + whole), folder_.string(), reason(error));
  }
  size_ += whole;
  return begin;
}

uint64_t scratch_hash(const at::Tensor& memory) {
  return hash_bytes({static_cast<const std::byte*>(memory.const_data_ptr()), memory.nbytes()});
}

void check_scratch(const at::Tensor& memory, uint64_t hash) {
  if (scratch_hash(memory) == hash) return;
  throw Error(
      "the scratch file has changed on disk, or the disk fails (memory.folder); the last checkpoint is "
      "whole");
}

}  // namespace chorus::inline memory
