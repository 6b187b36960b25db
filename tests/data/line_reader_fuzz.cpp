// Text, gzip and zstd files of any bytes: lines within the limit come out, or a UserError.
#include <cstdint>
#include <cstdlib>
#include <string>

#include <unistd.h>

#include "base/error.h"
#include "base/utf8.h"
#include "data/line_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMaxBytes = 100;
  int ends[2];
  constexpr size_t kPipe = 60000;  // fits into a pipe, so that one thread can write and then read it
  if (::pipe(ends) != 0) std::abort();
  if (size > kPipe || ::write(ends[1], data, size) != static_cast<ssize_t>(size)) size = 0;
  ::close(ends[1]);
  try {
    chorus::LineReader reader("/dev/fd/" + std::to_string(ends[0]), kMaxBytes);
    int64_t lines = 0;
    while (reader.next()) {
      if (reader.text().size() > kMaxBytes || reader.number() != ++lines) std::abort();
      if (reader.over_long() && reader.text().size() != kMaxBytes) std::abort();
      (void)chorus::trim_space(reader.text());
      (void)chorus::count_code_points(reader.text());
    }
  } catch (const chorus::UserError&) {
  }
  ::close(ends[0]);
  return 0;
}
