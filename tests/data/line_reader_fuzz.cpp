// Text, gzip and zstd files of any bytes: lines within the limit come out, or a UserError. The first byte says whether
// the rest is the file, or is packed first, whole or with a byte changed; whole, the lines are those of the plain file.
#include <array>
#include <optional>

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/utf8.h"
#include "data/line_reader.h"
#include "fuzz/target.h"

namespace {

using namespace chorus;

constexpr size_t kMaxBytes = 100;

/// None: refused.
std::optional<std::vector<std::string>> lines_of(std::string_view bytes) {
  constexpr size_t kPipe = 60000;  // fits into a pipe, so that one thread can write and then read it
  std::array<int, 2> ends = {};
  check(::pipe(ends.data()) == 0);
  if (bytes.size() > kPipe) bytes = bytes.substr(0, kPipe);
  check(::write(ends[1], bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  ::close(ends[1]);
  std::vector<std::string> lines;
  const bool read = accepted([&] {
    LineReader reader("/dev/fd/" + std::to_string(ends[0]), kMaxBytes);
    while (reader.next()) {
      lines.emplace_back(reader.text());
      check(lines.back().size() <= kMaxBytes && reader.number() == static_cast<int64_t>(lines.size()));
      check(!reader.over_long() || lines.back().size() == kMaxBytes);
      check(trim_space(reader.text()).size() <= lines.back().size());
      check(count_code_points(reader.text()) <= lines.back().size());
    }
  });
  ::close(ends[0]);
  return read ? std::optional(lines) : std::nullopt;
}

std::string gzip(std::string_view text) {
  z_stream stream = {};
  check(::deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(::deflateBound(&stream, text.size()), '\0');
  stream.next_in = const_cast<Bytef*>(reinterpret_cast<const Bytef*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  check(::deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  ::deflateEnd(&stream);
  return packed;
}

std::string zstd(std::string_view text) {
  std::string packed(::ZSTD_compressBound(text.size()), '\0');
  packed.resize(::ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
  return packed;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzInput input(data, size);
  const uint8_t kind = input.number();
  if (kind % 4 == 0) {
    (void)lines_of(input.rest());
    return 0;
  }
  const auto cut = input.number<uint16_t>();
  const uint8_t change = input.number();
  const std::string_view text = input.rest().substr(0, 20000);
  const auto pack = kind % 4 == 1 ? gzip : zstd;
  std::string packed =
      pack(text.substr(0, cut % (text.size() + 1))) + pack(text.substr(cut % (text.size() + 1)));
  if (change != 0) packed[cut % packed.size()] = static_cast<char>(packed[cut % packed.size()] ^ change);
  const auto lines = lines_of(packed), plain = lines_of(text);
  const bool is_packed = text.starts_with("\x1F\x8B") || text.starts_with("\x28\xB5\x2F\xFD");
  check(change != 0 || is_packed || !lines || !plain || lines == plain);
  return 0;
}
