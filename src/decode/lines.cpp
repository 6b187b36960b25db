#include "lines.h"

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

}  // namespace chorus
