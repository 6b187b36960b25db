// Compiled catalogs made to hurt: whatever the bytes, a catalog comes out, and its text cleaned is valid
// UTF-8, or a UserError.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/utf8.h"
#include "corpus/gettext.h"
#include "corpus/ui_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto catalog = chorus::parse_gettext({reinterpret_cast<const char*>(data), size}, "fuzz.mo");
    for (const auto& entry : catalog.entries) {
      if (entry.translations.empty()) std::abort();
      for (const auto& text : entry.translations) {
        const std::string clean = chorus::clean_ui_text(text);
        if (!chorus::is_valid_utf8(clean)) std::abort();
        (void)chorus::fold_text(clean);
      }
    }
  } catch (const chorus::UserError&) {
  }
  return 0;
}
