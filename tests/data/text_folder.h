// A temporary folder for tests that write and read small files by name.
#pragma once

#include <fstream>
#include <sstream>
#include <string>
#include <string_view>

#include "temporary_folder.h"

namespace chorus {

class TextFolder : public TemporaryFolder {
 public:
  /// Writes `bytes` to `name` (folders in it are made) and returns its path.
  [[nodiscard]] std::filesystem::path file(const std::string& name, std::string_view bytes) const {
    const auto file_path = path() / name;
    std::filesystem::create_directories(file_path.parent_path());
    std::ofstream(file_path, std::ios::binary)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file_path;
  }
  [[nodiscard]] std::string text(const std::string& name) const {
    std::ostringstream bytes;
    bytes << std::ifstream(path() / name, std::ios::binary).rdbuf();
    return bytes.str();
  }
};

}  // namespace chorus
