// Any UTF-8 as a string of a user interface: what comes out is one line of UTF-8 without space at its ends, and is in
// no greater number of code points than what went in, but for letters that fold to several.
#include "base/utf8.h"
#include "corpus/ui_text.h"
#include "fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  const std::string text = to_utf8(to_utf32(FuzzInput(data, size).rest()));
  const std::string clean = clean_ui_text(text);
  check(is_valid_utf8(clean) && count_code_points(clean) <= count_code_points(text));
  check(clean.find_first_of("\n\r\t") == clean.npos && trim_space(clean) == clean);
  check(placeholder_length(text) <= text.size() && count_words(clean) >= 0);
  check(has_letters(clean) || count_words(clean) == 0);
  const std::string folded = fold_text(clean), letters = fold_letters(clean);
  check(is_valid_utf8(folded) && is_valid_utf8(letters) && letters.size() <= folded.size());
  return 0;
}
