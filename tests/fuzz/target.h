// What fuzz targets share.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "temporary_folder.h"

namespace chorus {

/// Ends the program where a promise is broken.
inline void check(bool holds) {
  if (!holds) std::abort();
}

/// Runs what may refuse its input with a UserError of one line, and with nothing else. Whether it did not.
template <class Act>
bool accepted(Act&& act) {
  try {
    act();
    return true;
  } catch (const UserError& error) {
    check(std::strchr(error.what(), '\n') == nullptr);
    return false;
  }
}

/// An input, of which pieces are taken from the front: choices first, so that a mutation keeps their meaning.
class FuzzInput {
 public:
  FuzzInput(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  /// Beyond the end: 0.
  template <class Number = uint8_t>
  Number number() {
    Number value = 0;
    const std::string_view given = bytes(sizeof value);
    if (!given.empty()) std::memcpy(&value, given.data(), given.size());  // empty, it may point to nowhere
    return value;
  }
  std::string_view bytes(size_t count) {
    const std::string_view piece = rest_.substr(0, count);
    rest_.remove_prefix(piece.size());
    return piece;
  }
  /// Up to the next 0xFF, which no UTF-8 has, or the end.
  std::string_view text() {
    const std::string_view piece = bytes(rest_.find('\xFF'));
    rest_.remove_prefix(rest_.empty() ? 0 : 1);
    return piece;
  }
  [[nodiscard]] std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

/// As write_file_atomically(), but quick.
inline void put_file(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// A file of these tensors with right checksums, whose data repeat `contents`. Error as SafetensorsLayout.
inline std::string safetensors_of(const std::vector<TensorSpec>& tensors,
                                  const std::map<std::string, std::string>& metadata,
                                  std::string_view contents) {
  const SafetensorsLayout layout("fuzz", tensors, metadata);
  std::string file(layout.bytes(), '\0');
  std::vector<uint64_t> hashes;
  size_t next = 0;
  for (const SafetensorsLayout::Tensor& tensor : layout.tensors()) {
    for (size_t i = tensor.begin; i < tensor.end && !contents.empty(); ++i)
      file[i] = contents[next++ % contents.size()];
    hashes.push_back(hash_bytes(std::string_view(file).substr(tensor.begin, tensor.end - tensor.begin)));
  }
  const std::string header = layout.header(hashes);
  file.replace(0, header.size(), header);
  return file;
}

}  // namespace chorus
