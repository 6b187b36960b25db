// Any bytes as metrics.jsonl and translations.json of a run: a page comes out, in UTF-8, and no text of theirs ends its
// script. The two are parted by 0xFF; the same run is compared with itself.
#include "base/utf8.h"
#include "fuzz/target.h"
#include "report/report.h"

namespace {

size_t count(std::string_view text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const TemporaryFolder folder;
  static const auto page = [] {
    Report report({{.name = "a", .folder = folder.path()}, {.name = "b", .folder = folder.path()}});
    accepted([&] { report.read(); });
    return report.page({});
  };
  static const size_t scripts = count(page(), "</script");
  FuzzInput input(data, size);
  put_file(folder / "metrics.jsonl", input.text());
  put_file(folder / "translations.json", input.rest());
  const std::string text = page();
  check(is_valid_utf8(text) && count(text, "</script") == scripts && count(text, "<!--") == 0);
  return 0;
}
