// Any bytes as a safetensors file: refused with a UserError, or every tensor lies inside the file, one after
// the other. An input that begins with { is a header, whose length is set before it; data follow a 0xFF.
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/target.h"

namespace {

using chorus::check;

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
  chorus::accepted([&] {
    const chorus::SafetensorsFile file("/proc/self/fd/" + std::to_string(fd));
    (void)file.hash();
    for (const std::string& name : file.names()) (void)file.get(name);
    (void)file.verify();
  });
  ::close(fd);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chorus::FuzzInput input(data, size);
  std::string file(input.rest());
  if (file.starts_with('{')) {
    const std::string_view header = input.text();
    const uint64_t length = header.size();
    file = std::string(reinterpret_cast<const char*>(&length), sizeof length)
               .append(header)
               .append(input.rest());
  }
  const auto bytes = std::as_bytes(std::span(file));
  if (chorus::accepted([&] { check_header(chorus::parse_safetensors(bytes, "input"), bytes.size()); }))
    check_file(bytes);
  return 0;
}
