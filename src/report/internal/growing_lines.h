// A file to which whole lines are appended while it is read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <sys/types.h>

#include "io/metrics_log.h"

namespace chorus::inline report {

class GrowingLines {
 public:
  explicit GrowingLines(std::filesystem::path path) : path_(std::move(path)) {}

  struct Reader {
    std::function<void()> start_again;           // the file is another one than before: forget its lines
    std::function<void(std::string_view)> line;  // without its end; valid during the call
    std::function<void()> too_long;              // a line of more than kLongest bytes, which is left out
  };
  /// Gives the reader the whole lines since the last call; whether there was anything. A last line without an
  /// end waits for it. A missing file is an empty one. UserError where it is none to be read.
  bool read(const Reader& reader);

  static constexpr size_t kLongest = kLongestRecord;

 private:
  void take(std::string_view text, const Reader& reader);

  std::filesystem::path path_;
  ino_t file_ = 0;
  int64_t position_ = 0;
  std::string line_;      // begun
  bool passing_ = false;  // over the rest of a line that is too long
};

}  // namespace chorus::inline report
