// For tests: files as torch.save writes them.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <zlib.h>

namespace chorus {

using namespace std::string_literals;

inline std::string bytes_of_floats(const std::vector<float>& floats) {
  return {reinterpret_cast<const char*>(floats.data()), floats.size() * sizeof(float)};
}

template <class Int>
std::string little(Int value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

struct SavedTensor {
  const char* type = "FloatStorage";
  std::string storage = "0";
  int64_t elements = 6, offset = 0;
  std::vector<int64_t> shape = {}, strides = {};
};

class TorchSave {
 public:
  void file(const std::string& name, const std::string& bytes) { files_.emplace_back(name, bytes); }
  void storage(const std::string& key, const std::string& bytes) { file("data/" + key, bytes); }
  void tensor(const std::string& name, const SavedTensor& t) {
    items_ += text(name) + "ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + "ctorch\n" + t.type +
              "\n" + text(t.storage) + text("cpu") + number(t.elements) + "tQ" + number(t.offset) +
              tuple(t.shape) + tuple(t.strides) + "\x89" + "ccollections\nOrderedDict\n)RtR";
  }
  [[nodiscard]] std::string bytes(bool zip64 = false) const {
    return bytes_of_program(
        "\x80\x02"
        "ccollections\nOrderedDict\n)Rq\x01("s +
            items_ + "u}" + text("_metadata") + "}sb.",
        zip64);
  }
  [[nodiscard]] std::string bytes_of_program(const std::string& program, bool zip64 = false) const {
    std::vector<std::pair<std::string, std::string>> files = files_;
    files.emplace_back("data.pkl", program);
    std::string zip, directory;
    for (const auto& [name, content] : files) {
      const std::string path = "archive/" + name;
      const auto crc =
          static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(content.data()), content.size()));
      const auto size = static_cast<uint32_t>(content.size());
      const std::string padding(64 - (zip.size() + 30 + path.size()) % 64, 'Z');
      const auto length = static_cast<uint16_t>(path.size());
      const uint32_t noted = zip64 ? 0xFFFFFFFF : size;
      std::string extra;
      if (zip64)
        extra = little<uint16_t>(1) + little<uint16_t>(24) + little<uint64_t>(size) + little<uint64_t>(size) +
                little<uint64_t>(zip.size());
      directory += little<uint32_t>(0x02014b50) + std::string(12, '\0') + little(crc) + little(noted) +
                   little(noted) + little(length) + little(static_cast<uint16_t>(extra.size())) +
                   std::string(10, '\0') + little(zip64 ? 0xFFFFFFFF : static_cast<uint32_t>(zip.size())) +
                   path + extra;
      zip += little<uint32_t>(0x04034b50) + std::string(10, '\0') + little(crc) + little(size) +
             little(size) + little(length) + little(static_cast<uint16_t>(padding.size())) + path + padding +
             content;
    }
    const uint64_t begin = zip.size(), count = files.size();
    zip += directory;
    if (zip64) {
      const uint64_t end = zip.size();
      zip += little<uint32_t>(0x06064b50) + little<uint64_t>(44) + std::string(12, '\0') + little(count) +
             little(count) + little<uint64_t>(directory.size()) + little(begin);
      zip += little<uint32_t>(0x07064b50) + std::string(4, '\0') + little(end) + little<uint32_t>(1);
    }
    const auto few = zip64 ? uint16_t{0xFFFF} : static_cast<uint16_t>(count);
    return zip + little<uint32_t>(0x06054b50) + std::string(4, '\0') + little(few) + little(few) +
           little(zip64 ? 0xFFFFFFFF : static_cast<uint32_t>(directory.size())) +
           little(zip64 ? 0xFFFFFFFF : static_cast<uint32_t>(begin)) + std::string(2, '\0');
  }

 private:
  static std::string text(const std::string& text) {
    std::string bytes(1, 'X');
    bytes += little(static_cast<uint32_t>(text.size()));
    return bytes += text;
  }
  static std::string number(int64_t value) { return "\x8a\x08"s + little(value); }
  static std::string tuple(const std::vector<int64_t>& numbers) {
    std::string items;
    for (const int64_t value : numbers) items += number(value);
    return "(" + items + "t";
  }

  std::vector<std::pair<std::string, std::string>> files_;
  std::string items_;
};

}  // namespace chorus
