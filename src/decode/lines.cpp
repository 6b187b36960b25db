#include "lines.h"

#include <cstring>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/data/utf8.h"

namespace chorus {

std::string place(const LineReader& reader) {
  return fmt::format("{}:{}", reader.path().string(), reader.number());
}

std::string line_text(const LineReader& reader) {
  if (reader.over_long())
    throw UserError("{}: a line of more than {} KiB: is this text, one sentence a line?", place(reader),
                    reader.text().size() >> 10);
  return std::string(reader.text());
}

void check_utf8(std::string_view text, std::string_view where) {
  if (const size_t valid = valid_utf8_prefix(text); valid != text.size())
    throw UserError("{}: byte {} (0x{:02x}) is not UTF-8: convert the text to UTF-8 first", where, valid + 1,
                    static_cast<unsigned char>(text[valid]));
}

std::string pack(std::span<const std::string> texts) {
  std::string packed;
  for (const std::string& text : texts) {
    const uint64_t bytes = text.size();
    packed.append(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    packed += text;
  }
  return packed;
}

std::vector<std::string> unpack(std::string_view packed) {
  std::vector<std::string> texts;
  while (!packed.empty()) {
    uint64_t bytes = 0;
    std::memcpy(&bytes, packed.data(), sizeof bytes);
    texts.emplace_back(packed.substr(sizeof bytes, bytes));
    packed.remove_prefix(sizeof bytes + bytes);
  }
  return texts;
}

std::vector<std::string> share(
    Group& group, std::span<const std::string> texts,
    const std::function<std::vector<std::string>(std::span<const std::string> own)>& work) {
  const std::vector<std::string> all =
      unpack(group.gather_text(group.rank() == 0 ? pack(texts) : "").front());
  const size_t ranks = group.size();
  std::vector<std::string> own;
  for (size_t i = group.rank(); i < all.size(); i += ranks) own.push_back(all[i]);
  const std::vector<std::string> packed = group.gather_text(pack(work(own)));
  std::vector<std::string> made(all.size());
  for (size_t r = 0; r < ranks; ++r) {
    const std::vector<std::string> part = unpack(packed[r]);
    for (size_t i = r; i < made.size(); i += ranks) made[i] = part[i / ranks];
  }
  return made;
}

}  // namespace chorus
