#include "data/internal/text_kind.h"

#include <algorithm>

#include "base/error.h"
#include "base/utf8.h"

namespace chorus::inline data {
namespace {

using namespace std::string_view_literals;

struct Kind {
  std::string_view magic;
  const char* name;
};

constexpr Kind kPacked[] = {
    {"BZh", "bzip2 data"},  // and a digit, and a block: is_bzip2
    {"\xFD\x37\x7A\x58\x5A\x00"sv, "xz data"},
    {"\x5D\x00\x00"sv, "lzma data"},
    {"\x04\x22\x4D\x18"sv, "lz4 data"},
    {"LZIP\x01"sv, "lzip data"},
    {"\x1F\x9D"sv, "data of compress"},
    {"PK\x03\x04"sv, "a zip archive"},
    {"PK\x05\x06"sv, "a zip archive"},
    {"7z\xBC\xAF\x27\x1C"sv, "a 7z archive"},
    {"Rar!\x1A\x07"sv, "a rar archive"},
};
constexpr std::string_view kBzip2Blocks[] = {"1AY&SY"sv, "\x17\x72\x45\x38\x50\x90"sv};  // one, or none
// The longer first: UTF-32's begins with UTF-16's.
constexpr Kind kMarked[] = {{"\xFF\xFE\x00\x00"sv, "UTF-32"},
                            {"\x00\x00\xFE\xFF"sv, "UTF-32"},
                            {"\xFF\xFE"sv, "UTF-16"},
                            {"\xFE\xFF"sv, "UTF-16"}};
constexpr size_t kTarMagicAt = 257;

bool is_bzip2(std::string_view head) {
  return head.size() > 4 && head[3] >= '1' && head[3] <= '9' &&
         std::ranges::any_of(kBzip2Blocks,
                             [&](std::string_view block) { return head.substr(4).starts_with(block); });
}

/// Whether pairs of bytes, the low one at `low` in them, are text: no NUL; white space; and of scripts beyond
/// U+00FF at least one character in 50 below it. (A line of UTF-8 may hold a NUL: where fewer than half of
/// the pairs are below U+00FF, the bytes must not be UTF-8.)
bool is_utf16(std::string_view text, size_t low) {
  const size_t units = text.size() / 2;
  size_t latin = 0, spaces = 0;
  for (size_t i = 0; i < units; ++i) {
    if (text[2 * i + 1 - low] != '\0') continue;
    const char c = text[2 * i + low];
    if (c == '\0') return false;
    ++latin;
    spaces += c == ' ' || c == '\n' ? 1 : 0;
  }
  constexpr size_t kCut = 3;  // of a character that goes on behind the head
  if (2 * latin < units && valid_utf8_prefix(text) + kCut >= text.size()) return false;
  return latin > 0 && 50 * latin >= units && (spaces > 0 || (latin == units && units > 2));
}

}  // namespace

void refuse_what_is_no_text(std::string_view head, const std::filesystem::path& path) {
  for (const auto& [magic, name] : kPacked) {
    if (head.starts_with(magic) && (magic != "BZh" || is_bzip2(head)))
      throw UserError("{} is {}; chorus reads plain text, gzip and zstd: unpack it first", path.string(),
                      name);
  }
  if (head.size() > kTarMagicAt && head.substr(kTarMagicAt).starts_with("ustar"))
    throw UserError("{} is a tar archive; chorus reads text: unpack it first", path.string());
  std::string_view encoding;
  for (const auto& [mark, name] : kMarked)
    if (encoding.empty() && head.starts_with(mark)) encoding = name;
  if (encoding.empty() && is_utf16(head, 0)) encoding = "UTF-16LE";
  if (encoding.empty() && is_utf16(head, 1)) encoding = "UTF-16BE";
  if (!encoding.empty())
    throw UserError("{} is {}; chorus reads UTF-8: convert it with iconv -f {} -t UTF-8", path.string(),
                    encoding, encoding);
}

bool may_be_no_text(std::string_view head) {
  if (head.starts_with("BZh")) {
    constexpr size_t kEnough = 10;
    return head.size() < kEnough;
  }
  const auto like = [&](const Kind& kind) { return begins_like(head, kind.magic); };
  return std::ranges::any_of(kPacked, like) || std::ranges::any_of(kMarked, like);
}

}  // namespace chorus::inline data
