// What a SentencePiece model file holds, read and checked by us before the library sees it: the library
// trusts the double-array tries and the enumerations in it, and reads out of bounds or ends the process on a
// damaged one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace chorus::inline data {

struct SentencePieceModel {
  enum class Type : uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
  struct Piece {
    std::string_view text;  // into the bytes that were parsed
    float score = 0;
    Type type = Type::normal;
  };
  std::vector<Piece> pieces;
  bool is_bpe = false;        // else unigram
  std::string normalization;  // its name, of letters and digits; else empty
  std::string essence;  // the model without what the library needs not see: samples, lists of the trainer's
};

/// Parses a serialised ModelProto (sentencepiece_model.proto). Error saying what is wrong, without a file
/// name.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes);

/// Gives a parsed model to the library. Error with what it says against it.
void load(const SentencePieceModel& model, sentencepiece::SentencePieceProcessor& processor);

}  // namespace chorus::inline data
