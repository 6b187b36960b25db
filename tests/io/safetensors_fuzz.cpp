// Any bytes as a safetensors file: refused with a UserError, or every tensor lies inside the file, one after
// the other.
#include <cstdint>
#include <cstdlib>

#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "io/safetensors.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void check_header(const chorus::SafetensorsHeader& header, size_t file_bytes) {
  size_t at = header.bytes;
  for (const auto& tensor : header.tensors) {
    check(tensor.begin == at && tensor.end >= at && tensor.end - at == chorus::bytes_of(tensor));
    at = tensor.end;
  }
  check(at == file_bytes);
}

void check_file(std::span<const std::byte> bytes) {
  const int fd = ::memfd_create("fuzz", MFD_CLOEXEC);
  check(fd >= 0 && ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  try {
    const chorus::SafetensorsFile file("/proc/self/fd/" + std::to_string(fd));
    (void)file.hash();
    for (const std::string& name : file.names()) (void)file.get(name);
    (void)file.verify();
  } catch (const chorus::UserError&) {
  }
  ::close(fd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    check_header(chorus::parse_safetensors(bytes, "input"), size);
  } catch (const chorus::UserError&) {
    return 0;
  }
  check_file(bytes);
  return 0;
}
