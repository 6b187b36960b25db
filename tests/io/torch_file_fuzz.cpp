// Any bytes as a file of torch.save, and as the pickle inside one: refused with a UserError, or read as
// tensors that lie inside the file.
#include <climits>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/error.h"
#include "io/torch_file.h"
#include "io/torch_save.h"
#include "temporary_folder.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

void read(const std::string& bytes) {
  static const chorus::TemporaryFolder folder;
  const auto path = folder / "pytorch_model.bin";
  std::ofstream(path, std::ios::binary) << bytes;
  unsigned sum = 0;
  try {
    const chorus::TorchFile file(path);
    for (const std::string& name : file.names()) {
      const chorus::TensorView view = file.get(name);
      int64_t count = 1, last = 0;
      for (size_t d = 0; d < view.shape.size(); ++d) {
        count *= view.shape[d];
        if (!view.strides.empty()) last += (view.shape[d] - 1) * view.strides[d];
      }
      if (count == 0) continue;
      if (view.strides.empty()) last = count - 1;
      check(view.bytes.size() <= bytes.size());
      check(view.bytes.size() == (last + 1) * chorus::size_of(view.dtype));
      for (const std::byte byte : view.bytes) sum += static_cast<unsigned>(byte);
    }
  } catch (const chorus::UserError&) {
  }
  check(sum < UINT_MAX);  // all bytes are read
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'p') {
    chorus::TorchSave file;
    file.storage("0", std::string(48, 'x'));
    read(file.bytes_of_program(bytes));
  } else {
    read(bytes);
  }
  return 0;
}
