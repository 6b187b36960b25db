// Any bytes as the body of a request, JSON or a form of either kind: fields of UTF-8, or a refusal of one line. What is
// a text is cut in parts and put together again.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "base/utf8.h"
#include "server/asked_texts.h"
#include "server/request_fields.h"

namespace {

std::string type_of(uint8_t first) {
  if (first == 'j') return "application/json";
  return first == 'm' ? "multipart/form-data; boundary=XY" : "application/x-www-form-urlencoded";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string body(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    const chorus::RequestFields fields({.method = "POST", .content_type = type_of(data[0]), .body = body});
    if (const auto* file = fields.file("file"); file && file->bytes.size() > body.size()) std::abort();
    const std::vector<std::string> texts = fields.texts("q").texts;
    for (const std::string& text : texts)
      if (!chorus::is_valid_utf8(text)) std::abort();
    const chorus::AskedTexts lines(texts, chorus::DocumentFormat::text, {});
    std::vector<chorus::TranslatedLine> same;
    for (const chorus::SourceLine& line : lines.lines()) same.emplace_back().best = {{.text = line.text}};
    const auto again = lines.texts(same);
    for (size_t i = 0; i < texts.size(); ++i)
      if (again[i].front() != texts[i]) std::abort();
    const int64_t number = fields.number("alternatives", 0, 10);
    if (number < 0 || number > 10) std::abort();
  } catch (const chorus::Refusal& refusal) {
    if (std::strchr(refusal.what(), '\n') != nullptr) std::abort();
  }
  return 0;
}
