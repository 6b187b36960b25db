// Any bytes as a SentencePiece model: refused with a UserError, or one that encodes and decodes in bounds.
#include <cstdint>
#include <cstdlib>

#include <sentencepiece_processor.h>

#include "base/error.h"
#include "data/sentencepiece.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::string_view kText = "The ship \xEF\xB7\xBA sails\xE3\x80\x80to \xD0\xB6 x\xC2\xB2 12345.";
  constexpr size_t kMostPieces = 200 * kText.size();
  try {
    const auto processor = chorus::load_sentencepiece({reinterpret_cast<const char*>(data), size}, "input");
    std::vector<std::string> pieces;
    std::string text;
    if (!processor->Encode(kText, &pieces).ok()) return 0;
    if (pieces.size() > kMostPieces) std::abort();
    (void)processor->Decode(pieces, &text);
  } catch (const chorus::UserError&) {
  }
  return 0;
}
